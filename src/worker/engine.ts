/** The engine that an attempt computes on. */
import { chooseEngine, defaultThreads } from '../engine/choose';
import type { Engine } from '../engine/program';
import type { OpenTrial } from '../store/trial-store';
import { readCheckpointHeader } from '../train/checkpoint';

export interface TrialEngine {
  engine: Engine;
  threads: number;
  resumedFromStep: number;
  /** Differs from what the checkpoint was computed on: its bits will not be those of an uninterrupted trial. */
  differsFromCheckpoint: string | null;
}

/** With `auto`, a trial that goes on stays on its checkpoint's engine and threads: other ones compute other bits. */
export async function chooseTrialEngine({ trial, latestCheckpoint }: Pick<OpenTrial, 'trial' | 'latestCheckpoint'>): Promise<TrialEngine> {
  const before = await readCheckpointHeader(latestCheckpoint);
  const threads = before?.engine.threads ?? defaultThreads();
  const asked = trial.engine === 'auto' && before ? before.engine.id : trial.engine;
  const { engine } = await chooseEngine({ asked, threads, precision: trial.recipe.precision });
  const differs = before !== null && before.engine.id !== engine.id;
  return {
    engine, threads, resumedFromStep: before?.progress.step ?? 0,
    differsFromCheckpoint: differs ? `the checkpoint was computed on ${before.engine.id}, and this attempt uses ${engine.id}: the numbers are not bit for bit those of an uninterrupted trial` : null,
  };
}
