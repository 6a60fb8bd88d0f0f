/**
 * Training, top to bottom: batches -> step -> events; at the end of an epoch evaluation, best so far, checkpoint.
 *
 * Everything random is a function of (seed, step), and a checkpoint holds everything else, so that a trial killed at any
 * moment and started again on the same engine with as many threads ends with the same bits.
 */
import { UserError } from '../common/errors';
import { metricValue } from '../common/ranking';
import type { EpochScore, Metrics, Trial, TrialEvent } from '../common/trial';
import type { Batch, Batches } from '../data/batches';
import type { HostTensors, Session } from '../engine/program';
import { initialProgress, readCheckpoint, writeCheckpoint, type ComputedBy, type Progress } from './checkpoint';
import { evaluate, eventLoopTurn, patchFeed, type Evaluated } from './evaluate';
import { scaleLoss } from './loss-scaling';
import type { Model } from './model';
import { optimizerScalars } from './optimizer';
import { sumName } from './program';
import { learningRateAt, type ScheduleLength } from './schedule';
import { runTrainingStep, type StepPlan } from './step';
import { balancedWeights, targetFeeds, type TargetSettings } from './targets';

export type EvaluatedSplit = 'validation' | 'test';

export interface TrainRun {
  trial: Pick<Trial, 'id' | 'recipe' | 'evaluation'>;
  model: Model;
  /** Has the programs `train` and `evaluate` and the initial state. */
  session: Session;
  engine: ComputedBy;
  /** How the session's programs make up a step. */
  step: StepPlan;
  /** What else decides the bits, for the record: that a frozen prefix is cached. */
  inputs?: string | null;
  data: { train: Batches; evaluated: Partial<Record<EvaluatedSplit, Batches>> };
  checkpointFile: string;
  /** Looked at after every step. */
  stopRequested(): boolean;
  onEvent(event: TrialEvent): void;
}

export interface Trained {
  /** False when a stop was requested: the checkpoint is written. */
  finished: boolean;
  progress: Progress;
  /** The adapter of the best epoch; null unless the recipe keeps that one. */
  best: HostTensors | null;
  /** What the last epoch's evaluation computed, if this attempt did it. */
  lastEvaluation: Partial<Record<EvaluatedSplit, Evaluated>>;
}

/** The names of the programs that a step consists of. */
const trainingPrograms = ['train', 'accumulate', 'update'];

export async function train(run: TrainRun): Promise<Trained> {
  const plan = planTraining(run);
  const trained = await resume(run, plan);
  const { progress } = trained;
  const steps = run.trial.recipe.precision === 'f16' ? { ...run, session: scaleLoss(run.session, trainingPrograms, progress) } : run;
  const clock = startClock();

  if (epochIsPending(progress, plan) && !(await finishEpoch(run, plan, trained))) return stop(run, trained);
  const { batchSize, shuffle, dropLast } = run.trial.recipe;
  const batches = run.data.train.training({
    firstStep: progress.step, lastStep: isOver(run, progress) ? progress.step : plan.steps, batchSize, shuffle, dropLast, masks: run.step.masks,
  });
  clock.restart();
  for await (const batch of batches) {
    const loss = await runStep(steps, plan, progress, batch);
    await eventLoopTurn();
    clock.lap(progress, batch.count);
    reportStep(run, plan, { progress, loss, imagesPerSecond: clock.imagesPerSecond() });
    if (epochIsPending(progress, plan)) {
      if (!(await finishEpoch(run, plan, trained))) return stop(run, trained);
      if (isOver(run, progress)) break;
      if (progress.step < plan.steps) run.onEvent({ type: 'phase', time: Date.now(), phase: 'training' });
      clock.restart();
    }
    if (run.stopRequested()) return stop(run, trained);
  }
  return { ...trained, finished: true };
}

interface Plan extends ScheduleLength {
  steps: number;
  /** Steps make whole epochs, but the last may be cut short. */
  wholeEpochs: number;
  targets: TargetSettings;
}

function planTraining({ trial: { recipe }, model, data }: TrainRun): Plan {
  const stepsPerEpoch = data.train.stepsPerEpoch(recipe.batchSize, recipe.dropLast);
  const steps = recipe.steps ?? recipe.epochs * stepsPerEpoch;
  return {
    stepsPerEpoch, steps, epochs: steps / stepsPerEpoch, wholeEpochs: Math.ceil(steps / stepsPerEpoch),
    targets: targetSettings({ recipe, model, train: data.train }),
  };
}

/** How the recipe makes targets of the training set's labels. */
export function targetSettings({ recipe, model: { classes }, train }: { recipe: Trial['recipe']; model: Pick<Model, 'classes'>; train: Pick<Batches, 'usable'> }): TargetSettings {
  const labels = train.usable.map(({ label }) => label);
  return { classes, labelSmoothing: recipe.labelSmoothing, classWeights: recipe.classWeights === 'balanced' ? balancedWeights(labels, classes) : null };
}

/** State and progress of the checkpoint where there is one; otherwise the session's own initial state. */
async function resume(run: TrainRun, plan: Plan): Promise<Trained> {
  const { id, threads, parts } = run.engine;
  const checkpoint = await readCheckpoint(run.checkpointFile, run.trial.id);
  const progress = checkpoint?.progress ?? initialProgress();
  const engine = [`${id}, ${threads} thread${threads === 1 ? '' : 's'}`, ...run.step.parts > 1 ? [`${run.model.batch} images at once`] : [], ...parts && parts.recompute !== 'off' ? [`${parts.recompute} recomputed`] : [], ...run.inputs ? [run.inputs] : []].join(', ');
  if (!progress.engines.includes(engine)) progress.engines.push(engine);
  if (checkpoint) {
    await run.session.writeState(checkpoint.state);
    run.onEvent({ type: 'resumed', time: Date.now(), step: progress.step, epoch: Math.min(progress.epochs + 1, plan.wholeEpochs) });
  }
  run.onEvent({ type: 'phase', time: Date.now(), phase: 'training' });
  return { finished: false, progress, best: checkpoint?.best ?? null, lastEvaluation: {} };
}

/** One optimiser step; returns the loss before it. Throws a UserError when that is not finite. */
async function runStep(run: TrainRun, plan: Plan, progress: Progress, batch: Batch): Promise<number> {
  const { trial: { recipe }, model, session } = run;
  const learningRate = learningRateAt(batch.step, recipe, plan);
  const value = await runTrainingStep(session, run.step, {
    model,
    feeds: {
      patches: patchFeed(batch), targets: targetFeeds(batch.labels, plan.targets), masks: batch.masks, count: batch.count,
      scalars: optimizerScalars({ step: batch.step - (progress.lossScale?.skipped ?? 0), learningRate, weightDecay: recipe.weightDecay }),
    },
  });
  if (!Number.isFinite(value)) throw divergence(progress, { what: `the loss became ${value} at step ${batch.step + 1} with learning rate ${learningRate.toPrecision(4)}` });
  progress.step = batch.step + 1;
  progress.loss = value;
  progress.epoch.lossSum += value * batch.count;
  progress.epoch.images += batch.count;
  return value;
}

/** Says what was finite last. */
function divergence({ loss, step, last }: Progress, { what }: { what: string }): UserError {
  const before = loss === null ? 'no step before it had a finite loss' : `the last finite loss was ${loss.toPrecision(6)} at step ${step}`;
  const epoch = last ? `, the mean of epoch ${last.epoch} ${last.trainLoss.toPrecision(6)}` : '';
  return new UserError({ what: `${what}; ${before}${epoch}`, remedy: 'Lower recipe.learningRate, lengthen the warm-up, or lower the method\'s scale.' });
}

/** Whether the steps of an epoch (or all steps) are done and its evaluation is not. */
function epochIsPending({ step, epochs }: Progress, plan: Plan): boolean {
  return step > 0 && (step % plan.stepsPerEpoch === 0 || step === plan.steps) && epochs < Math.ceil(step / plan.stepsPerEpoch);
}

/** Evaluation, best so far, event, checkpoint. False when a stop was requested during the evaluation. */
async function finishEpoch(run: TrainRun, plan: Plan, trained: Trained): Promise<boolean> {
  const { progress } = trained;
  const epoch = progress.epochs + 1;
  const trainLoss = progress.epoch.lossSum / Math.max(progress.epoch.images, 1);
  const isEvaluated = epoch % run.trial.evaluation.everyEpochs === 0 || epoch === plan.wholeEpochs;
  const evaluated = isEvaluated ? await evaluateSplits(run, progress) : {};
  if (!evaluated) return false;
  const score: EpochScore = { epoch, trainLoss, ...metricsOf(evaluated) };
  run.onEvent({
    type: 'epoch', time: Date.now(), epoch, step: progress.step, train: { loss: trainLoss }, ...metricsOf(evaluated),
    seconds: progress.epoch.seconds, imagesPerSecond: imagesPerSecond(progress),
  });
  if (isEvaluated) await recordScore(run, trained, { score, evaluated });
  progress.epochs = epoch;
  progress.epoch = { lossSum: 0, images: 0, seconds: 0 };
  await checkpoint(run, trained);
  return true;
}

async function evaluateSplits(run: TrainRun, progress: Progress): Promise<Partial<Record<EvaluatedSplit, Evaluated>> | null> {
  const results: Partial<Record<EvaluatedSplit, Evaluated>> = {};
  for (const [split, batches] of Object.entries(run.data.evaluated) as [EvaluatedSplit, Batches][]) {
    run.onEvent({ type: 'phase', time: Date.now(), phase: 'evaluating', detail: split });
    const result = await evaluate({ ...run, batches });
    if (!result) return null;
    if (!Number.isFinite(result.metrics.loss)) throw divergence(progress, { what: `the loss on ${split} became ${result.metrics.loss} after step ${progress.step}` });
    results[split] = result;
  }
  return results;
}

async function recordScore(
  run: TrainRun, trained: Trained, { score, evaluated }: { score: EpochScore; evaluated: Trained['lastEvaluation'] },
): Promise<void> {
  const { progress } = trained;
  const isBetter = !progress.best || selectionValue(run, score) > selectionValue(run, progress.best);
  progress.last = score;
  progress.evaluationsSinceBest = isBetter ? 0 : progress.evaluationsSinceBest + 1;
  trained.lastEvaluation = evaluated;
  if (!isBetter) return;
  progress.best = score;
  if (run.trial.recipe.selection.epoch === 'best' && selectionSplit(run) === 'validation') trained.best = structuredClone(adapterOf(run.model, await run.session.readState()));
}

/** The split that selects: validation, or test where the study trains on both, as the study's published code did. */
export function selectionSplit({ data }: Pick<TrainRun, 'data'>): EvaluatedSplit {
  return data.evaluated.validation ? 'validation' : 'test';
}

/** The metric that selects; without any evaluated split, the later epoch is the better one. */
function selectionValue(run: TrainRun, score: EpochScore): number {
  const metrics = score[selectionSplit(run)];
  return metrics ? metricValue(metrics, run.trial.recipe.selection.metric) : score.epoch;
}

/** The trained tensors of a session's state, without the optimiser's. */
export function adapterOf(model: Pick<Model, 'tensors'>, state: HostTensors): HostTensors {
  return Object.fromEntries(model.tensors.map(({ name }) => [name, state[name]!]));
}

function isOver({ trial: { recipe } }: TrainRun, { evaluationsSinceBest }: Progress): boolean {
  return recipe.earlyStopping !== undefined && evaluationsSinceBest >= recipe.earlyStopping.patience;
}

async function stop(run: TrainRun, trained: Trained): Promise<Trained> {
  await checkpoint(run, trained);
  return { ...trained, finished: false };
}

async function checkpoint(run: TrainRun, { progress, best }: Trained): Promise<void> {
  const begunAnew = new Set(run.model.trainables.map(({ name }) => sumName(name))); // by each step
  const state = Object.fromEntries(Object.entries(await run.session.readState()).filter(([name]) => !begunAnew.has(name)));
  await writeCheckpoint(run.checkpointFile, run.trial.id, { state, best, progress, engine: run.engine });
}

function metricsOf(evaluated: Trained['lastEvaluation']): Partial<Record<EvaluatedSplit, Metrics>> {
  return Object.fromEntries(Object.entries(evaluated).map(([split, { metrics }]) => [split, metrics]));
}

function reportStep(run: TrainRun, plan: Plan, { progress, loss, imagesPerSecond }: { progress: Progress; loss: number; imagesPerSecond: number }): void {
  const { step } = progress;
  run.onEvent({
    type: 'step', time: Date.now(), step, totalSteps: plan.steps, epoch: progress.epochs + 1, epochs: plan.wholeEpochs, loss,
    learningRate: learningRateAt(step - 1, run.trial.recipe, plan), imagesPerSecond,
  });
}

/** Training images a second over all attempts; the first step of an attempt only where there is nothing else. */
export function imagesPerSecond({ timed }: Pick<Progress, 'timed'>): number {
  return timed.seconds > 0 ? timed.images / timed.seconds : 0;
}

/** With one more step; the first of an attempt, which may compile, counts until another takes its place. */
function timed(before: Progress['timed'], { images, seconds, isFirst }: { images: number; seconds: number; isFirst: boolean }): Progress['timed'] {
  if (isFirst) return before.seconds > 0 ? before : { images, seconds, isFirst: true };
  return before.isFirst ? { images, seconds } : { images: before.images + images, seconds: before.seconds + seconds };
}

/** Time in steps, waiting for data included; evaluation and checkpoints are not. */
function startClock() {
  let since = performance.now(), laps = 0, rate = 0;
  return {
    restart() { since = performance.now(); },
    lap(progress: Progress, images: number) {
      const seconds = (performance.now() - since) / 1000;
      since = performance.now();
      progress.seconds += seconds;
      progress.epoch.seconds += seconds;
      progress.timed = timed(progress.timed, { images, seconds, isFirst: laps === 0 });
      rate = laps < 2 ? images / seconds : 0.9 * rate + 0.1 * images / seconds;
      laps++;
    },
    imagesPerSecond: () => rate,
  };
}
