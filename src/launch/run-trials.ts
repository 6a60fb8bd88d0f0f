/** The queue: runs trials one after the other, or several at a time, until they are done or the user stops it. */
import type { EngineId } from '../common/engines';
import { describeError } from '../common/errors';
import type { Trial } from '../common/trial';
import type { Launcher, RunningTrial, TrialOutcome } from './launcher';

export interface RunTrialsOptions {
  launcher: Launcher;
  /** In this order. */
  trials: readonly Trial[];
  folderOf(trial: Trial): string;
  /** How many run at a time. */
  jobs: number;
  /** Starts no more trials and asks the running ones to checkpoint. */
  cancel: AbortSignal;
  /** Ends the running ones at once. */
  kill: AbortSignal;
  onStart?(trial: Trial): void;
  /** An engine failed in a trial, which goes on with another one from its checkpoint. */
  onEngineFailure?(trial: Trial, failure: { engine: EngineId; message: string }): void;
  /** The next trial starts when it has resolved. */
  onEnd?(trial: Trial, outcome: TrialOutcome): Promise<void>;
}

/** Resolves when nothing runs any more, with how each trial that was started ended. */
export async function runTrials({ launcher, trials, folderOf, jobs, cancel, kill, onStart, onEngineFailure, onEnd }: RunTrialsOptions): Promise<Map<string, TrialOutcome>> {
  const waiting = [...trials];
  const running = new Set<RunningTrial>();
  const outcomes = new Map<string, TrialOutcome>();
  const cancelAll = () => running.forEach(trial => trial.cancel());
  const killAll = () => running.forEach(trial => trial.kill());
  cancel.addEventListener('abort', cancelAll);
  kill.addEventListener('abort', killAll);
  /** What keeps one trial from starting, or its end from being read, is no end of the others. */
  const runOnce = async (trial: Trial, avoid: readonly EngineId[]): Promise<TrialOutcome> => {
    let one: RunningTrial | undefined;
    try {
      one = launcher.start(folderOf(trial), { avoid });
      running.add(one);
      return await one.ended;
    } catch (error) {
      return { kind: 'failed', message: describeError(error) };
    } finally {
      if (one) running.delete(one);
    }
  };
  /** Each failure takes an engine away, so it ends. An engine that the study names is not replaced. */
  const runWithEngines = async (trial: Trial): Promise<TrialOutcome> => {
    const failed: EngineId[] = [];
    for (;;) {
      const outcome = await runOnce(trial, failed);
      const engine = outcome.kind === 'failed' && trial.engine === 'auto' ? outcome.engineFailed : undefined;
      if (!engine || failed.includes(engine) || cancel.aborted) return outcome;
      failed.push(engine);
      onEngineFailure?.(trial, { engine, message: outcome.kind === 'failed' ? outcome.message : '' });
    }
  };
  const work = async () => {
    for (let next = waiting.shift(); next && !cancel.aborted; next = waiting.shift()) {
      onStart?.(next);
      const outcome = await runWithEngines(next);
      outcomes.set(next.id, outcome);
      await onEnd?.(next, outcome);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.max(1, jobs) }, work));
  } finally {
    cancel.removeEventListener('abort', cancelAll);
    kill.removeEventListener('abort', killAll);
  }
  return outcomes;
}
