/** How a run ended, in words: pure. */
import type { Snapshot } from '../common/snapshot';

export interface RunEnd {
  severity: 'info' | 'warning' | 'error';
  message: string;
}

export interface EndFacts {
  snapshot: Snapshot | null;
  /** When the launcher was started, milliseconds since 1970; 0 when it was found running. */
  started: number;
  /** Its end was asked for. */
  cancelled: boolean;
  /** What the launcher said last: the reason when it ended before it had planned a trial. */
  logTail: string;
}

export function describeEnd({ snapshot, started, cancelled, logTail }: EndFacts): RunEnd {
  const hasBegun = snapshot !== null && snapshot.trials.length > 0 && snapshot.updated >= started;
  if (!hasBegun && cancelled) return { severity: 'info', message: 'stopped before its first trial' };
  if (!hasBegun) return { severity: 'error', message: logTail || 'the run ended before it began' };
  const { finished, failed, total } = snapshot.progress;
  if (failed > 0) return { severity: 'warning', message: `${failed} of ${total} trials failed: ${firstError(snapshot)}` };
  if (snapshot.trials.some(trial => trial.status === 'interrupted')) {
    return { severity: 'warning', message: `interrupted after ${finished} of ${total} trials; running it again goes on from its checkpoint` };
  }
  if (finished < total) return { severity: 'info', message: `stopped after ${finished} of ${total} trials; running it again goes on from here` };
  return { severity: 'info', message: `all ${total} trials finished` };
}

function firstError({ trials }: Snapshot): string {
  const failed = trials.find(trial => trial.status === 'failed');
  return `${failed?.label ?? ''}: ${failed?.error?.split('\n')[0] ?? 'see the log'}`;
}
