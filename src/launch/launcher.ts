import type { EngineId } from '../common/engines';

/** Where trials run. `local` processes are one way; whatever comes later answers to the same interface. */
export interface Launcher {
  /** Starts one trial, or joins it where an earlier launcher left it running. */
  start(trialFolder: string, options?: StartOptions): RunningTrial;
}

export interface StartOptions {
  /** Engines that failed in this trial since the launcher began: `auto` does without them. */
  avoid?: readonly EngineId[];
}

export interface RunningTrial {
  /** Always settles; a trial that fails does not reject. */
  ended: Promise<TrialOutcome>;
  /** Asks for a checkpoint and an end. */
  cancel(): void;
  /** Ends it at once. What was checkpointed stays. */
  kill(): void;
}

export type TrialOutcome =
  | { kind: 'finished' }
  | { kind: 'cancelled' }
  /** `message` is for the user: what happened, and the last lines of the log where there is no better word. */
  | { kind: 'failed'; message: string; engineFailed?: EngineId };
