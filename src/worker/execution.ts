/** How the engine executes, told as soon as its calls show it: an engine with several ways may fall back at a program's first call. */
import type { TrialEvent } from '../common/trial';
import type { Session } from '../engine/program';

export interface ExecutionReport {
  onEvent(event: TrialEvent): void;
  /** For why it is not a better way. */
  warn(message: string): void;
}

/** The same session; each change of how it executes is an event of the attempt. */
export function reportExecution(session: Session, { onEvent, warn }: ExecutionReport): Session {
  if (!session.execution) return session;
  let told: string | undefined;
  return {
    ...session,
    async call(program, feeds) {
      const results = await session.call(program, feeds);
      const { how, reasons } = session.execution!();
      if (how !== told) {
        onEvent({ type: 'phase', time: Date.now(), phase: 'training', detail: how });
        if (reasons.length) warn(`the engine runs ${how}: ${reasons.join('; ')}`);
      }
      told = how;
      return results;
    },
  };
}
