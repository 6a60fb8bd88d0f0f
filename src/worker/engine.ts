/** The engine that an attempt computes on. */
import { engineIds, type EngineId } from '../common/engines';
import type { Attempt } from '../common/trial';
import { chooseEngine, defaultThreads, type EngineReport } from '../engine/choose';
import type { Engine } from '../engine/program';
import { engineFailures, type EngineFailureRecord, type OpenTrial } from '../store/trial-store';
import { readCheckpointHeader } from '../train/checkpoint';
import { watchEngine } from './engine-failure';

export interface TrialEngine {
  engine: Engine;
  threads: number;
  resumedFromStep: number;
  /** Differs from what the checkpoint was computed on: its bits will not be those of an uninterrupted trial. */
  differsFromCheckpoint: string | null;
  /** Engines that failed in this trial and whose place this one takes. */
  replaced: readonly EngineFailureRecord[];
  choice: Attempt['choice'] | undefined;
}

/**
 * With `auto`, a trial that goes on stays on its checkpoint's engine and threads: other ones compute other bits; unless
 * the launcher says that it failed (PEFT_LAB_AVOID_ENGINES, names with commas between them).
 */
export async function chooseTrialEngine({ trial, folder, latestCheckpoint }: Pick<OpenTrial, 'trial' | 'folder' | 'latestCheckpoint'>): Promise<TrialEngine> {
  const before = await readCheckpointHeader(latestCheckpoint);
  const threads = before?.engine.threads ?? defaultThreads();
  const replaced = trial.engine === 'auto' ? replacedEngines(folder, before?.progress.engines ?? []) : [];
  const avoid = new Map(replaced.filter(({ engine }) => enginesToAvoid().includes(engine)).map(({ engine, why }) => [engine, why]));
  const stays = trial.engine === 'auto' && before && !avoid.has(before.engine.id);
  const { engine, report } = await chooseEngine({
    asked: stays ? before.engine.id : trial.engine, avoid, threads, precision: trial.recipe.precision, architecture: trial.backbone.architecture,
  });
  const differs = before !== null && before.engine.id !== engine.id;
  return {
    engine: watchEngine(engine), threads, replaced, choice: describeChoice(report), resumedFromStep: before?.progress.step ?? 0,
    differsFromCheckpoint: differs ? `the checkpoint was computed on ${before.engine.id}, and this attempt uses ${engine.id}: the numbers are not bit for bit those of an uninterrupted trial` : null,
  };
}

/** Those that the launcher says failed just now, and those that failed earlier and computed a part of what is there. */
function replacedEngines(folder: string, computed: readonly string[]): EngineFailureRecord[] {
  const failed = engineFailures(folder);
  return [...failed.values()].filter(({ engine }) => enginesToAvoid().includes(engine) || computed.some(label => label.split(',')[0] === engine));
}

function enginesToAvoid(): EngineId[] {
  const names = (process.env['PEFT_LAB_AVOID_ENGINES'] ?? '').split(',');
  return engineIds.filter(id => names.includes(id));
}

function describeChoice(report: readonly EngineReport[]): Attempt['choice'] | undefined {
  return report.length ? report.map(({ id, chosen, why }) => ({ engine: id, chosen, why })) : undefined;
}
