/**
 * What the gradients of the first batches decide before training: which elements of weights a method trains, for instance. Gradients
 * are those of the model as it starts, without dropout and drop path, by the trial's own engine and in the parts of its steps.
 */
import type { Trial, TrialEvent } from '../common/trial';
import type { HostTensors, Recompute } from '../engine/program';
import { gradientBatches, gradientsNeeded, initializeByGradients } from '../peft/initialize';
import type { AdapterTensor } from '../peft/trainable';
import { eventLoopTurn, patchFeed } from '../train/evaluate';
import { targetSettings } from '../train/loop';
import { frozenTensors, type Model } from '../train/model';
import { accumulationProgram, sumName, type ProgramStart } from '../train/program';
import { accumulateGradients, stepState, type StepPlan } from '../train/step';
import { targetFeeds } from '../train/targets';
import { baseParameters } from '../vit/architecture';
import type { TrialData } from './data';
import type { TrialEngine } from './engine';
import { Stopped, type StopSignal } from './stop';

export interface FirstGradientsWork {
  trial: Trial;
  /** Its batch is that of a step's part. */
  model: Model;
  step: StepPlan;
  recompute: Recompute;
  /** Where steps begin when what comes before is cached. */
  start: ProgramStart;
  base: HostTensors;
  /** With zeros in place of what gradients decide. */
  state: HostTensors;
  data: TrialData;
  engine: TrialEngine;
  stop: StopSignal;
  onEvent(event: TrialEvent): void;
}

/** First values of the tensors that gradients decide; none where no tensor asks for gradients. */
export async function valuesByGradients(work: FirstGradientsWork): Promise<HostTensors> {
  const { trial, model, base } = work;
  const needed = gradientsNeeded(model.tensors);
  if (!needed.length) return {};
  const gradients = await firstGradients(work, needed);
  return initializeByGradients(model.tensors, { base, seed: trial.recipe.seed, gradients });
}

async function firstGradients(work: FirstGradientsWork, names: readonly string[]): Promise<HostTensors> {
  const { trial: { recipe }, step, recompute, start, base, state, data, engine: { engine, threads }, stop, onEvent } = work;
  const shapes = new Map(baseParameters(work.model.architecture).map(({ name, shape }) => [name, shape]));
  const asked = names.map((name): AdapterTensor => ({ name, shape: shapes.get(name)!, source: 'base' }));
  const model: Model = { ...work.model, trainables: asked, masks: [], dropout: false, dropPath: 0 };
  const [plan, batches] = [{ ...step, masks: [] }, gradientBatches(model.tensors)];
  onEvent({ type: 'phase', time: Date.now(), phase: 'preparing', detail: `gradients of the first ${batches === 1 ? 'batch' : `${batches} batches`}` });
  const session = await engine.open({
    programs: { accumulate: accumulationProgram(model, start) }, constants: frozenTensors(model, base), threads,
    state: { ...Object.fromEntries(model.tensors.map(({ name }) => [name, state[name]!])), ...stepState(model, { parts: 2 }) },
    recompute, precision: recipe.precision === 'f16' ? 'f32' : recipe.precision, // no loss to be scaled; the gradients are only compared
  });
  try {
    const { batchSize, shuffle, dropLast } = recipe;
    for await (const batch of data.train.training({ firstStep: 0, lastStep: batches, batchSize, shuffle, dropLast, masks: [] })) {
      const targets = targetFeeds(batch.labels, targetSettings({ recipe, model, train: data.train }));
      await accumulateGradients(session, plan, { model, feeds: { patches: patchFeed(batch), targets, masks: {}, count: batch.count }, continues: batch.step > 0 });
      await eventLoopTurn();
      if (stop.requested()) throw new Stopped('a stop was requested');
    }
    const sums = await session.readState();
    return Object.fromEntries(names.map(name => [name, sums[sumName(name)]!]));
  } finally {
    await session.dispose();
  }
}
