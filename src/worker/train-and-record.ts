/** Loads what a trial names, trains, and writes predictions, adapter and, last, the result. */
import fs from 'node:fs';
import { collectGarbage } from '../common/collect-garbage';
import { UserError } from '../common/errors';
import { extraSplit, type Metrics, type Trial, type TrialEvent, type TrialResult } from '../common/trial';
import { engines } from '../engine/engines';
import type { HostTensors, Session } from '../engine/program';
import { fingerprintFile } from '../interop/fingerprint-file';
import { checkBackbone, loadAdapter, saveAdapter } from '../peft/adapter';
import type { ParityCertificate } from '../peft/certificate';
import { condense } from '../peft/condense';
import { findMethod } from '../peft/registry';
import { readTextEmbeddings, textHead } from '../peft/text-head';
import type { OpenTrial } from '../store/trial-store';
import { certify } from '../train/certify';
import { readCheckpointHeader } from '../train/checkpoint';
import { evaluate, type Evaluated } from '../train/evaluate';
import { adapterOf, imagesPerSecond, selectionSplit, train, type Trained } from '../train/loop';
import { withLossScaling } from '../train/loss-scaling';
import { frozenTensors, initialState, prepareModel, type Model } from '../train/model';
import { chooseParts, memoryBudget, type PartOptions, type PartsUsed } from '../train/parts';
import { evaluationProgram } from '../train/program';
import { planStep, stepPrograms, stepState, type StepPlan } from '../train/step';
import { loadBackbone, readProjection, type Backbone } from '../vit/weights';
import { evaluatedBySplit, openTrialData, type TrialData } from './data';
import type { TrialEngine } from './engine';
import { causeOf } from './engine-failure';
import { reportExecution } from './execution';
import { valuesByGradients } from './first-gradients';
import { usePrefixes, type UsedPrefixes } from './prefix';
import { Stopped, type StopSignal } from './stop';

export interface TrialWork {
  opened: OpenTrial;
  engine: TrialEngine;
  stop: StopSignal;
  onEvent(event: TrialEvent): void;
}

/** Throws Stopped when a stop was asked for; the checkpoint is written then if there was anything to keep. */
export async function trainAndRecord(work: TrialWork): Promise<void> {
  work.onEvent({ type: 'phase', time: Date.now(), phase: 'preparing' });
  const warnings = openWarnings(work);
  const finished = await prepareAndTrain(work, warnings);
  try {
    await recordResult(work, finished);
  } finally {
    await finished.data.close();
  }
}

/** Nothing that it returns refers to the session, and so to the training's memory. */
async function prepareAndTrain(work: TrialWork, warnings: Warnings): Promise<Finished> {
  const prepared = await prepare(work, warnings.add);
  const { model, data, prefix } = prepared;
  try {
    return { model, data, prefix, warnings, ...await trainAndEvaluate(work, prepared) };
  } catch (error) {
    await data.close();
    throw error;
  }
}

/** What a trial trains with. The session alone holds what trains, and of the backbone what is read at every step. */
interface Prepared {
  model: Model;
  step: StepPlan;
  parts: PartsUsed;
  session: Session;
  data: TrialData;
  prefix: UsedPrefixes & { seconds: number };
}

async function prepare(work: TrialWork, warn: (message: string) => void): Promise<Prepared> {
  const { opened, engine: { engine, threads }, stop, onEvent } = work;
  const { trial } = opened;
  const backbone = await stop.race(loadTrialBackbone(trial));
  const whole = await prepareModel({
    architecture: backbone.architecture, method: findMethod(trial.method.id), options: trial.method.options,
    classes: trial.data.classes.length, batch: trial.recipe.batchSize, dropPath: trial.recipe.dropPath, dropout: trial.recipe.dropout,
  });
  const state = await startingState({ trial, model: whole, backbone, warn });
  const data = await stop.race(openTrialData(trial, await opened.samples(), onEvent));
  try {
    warnAboutRecipe(trial, data, warn);
    const started = performance.now();
    const prefixes = await usePrefixes({ trial, model: whole, backbone, data, engine: work.engine, stop, onEvent, warn });
    const prefix = { ...prefixes, seconds: (performance.now() - started) / 1000 };
    const parts = await partsOf(work, whole, { start: prefixes.training, warn });
    const model = parts.images === whole.batch ? whole : await prepareModel({ ...whole, batch: parts.images });
    const step = await planStep(model, whole.batch);
    const decided = await isFresh(opened) ? await valuesByGradients({ ...work, trial, model, step, start: prefixes.training, recompute: parts.recompute, base: backbone.tensors, state, data }) : {};
    const session = reportExecution(await engine.open({
      programs: { ...withLossScaling(stepPrograms(model, step, prefixes.training), trial.recipe.precision), evaluate: evaluationProgram(model, prefixes.evaluation) },
      state: { ...state, ...decided, ...stepState(model, step) }, ownsState: true, constants: stillRead(frozenTensors(model, backbone.tensors), prefixes), ownsConstants: true,
      threads, precision: trial.recipe.precision, recompute: parts.recompute, weights: parts.weights,
    }), { onEvent, warn });
    return { model, step, parts, session, data, prefix };
  } catch (error) {
    await data.close();
    throw error;
  }
}

/** Trains to the end, evaluates what is kept, and closes the session: what follows needs its memory. */
async function trainAndEvaluate({ opened, engine: { engine, threads }, stop, onEvent }: TrialWork, { model, step, parts, session, data, prefix }: Prepared): Promise<{ trained: Trained; kept: Kept }> {
  try {
    collectGarbage(); // the backbone's other copies
    const trained = await train({
      trial: opened.trial, model, step, session, engine: { id: engine.id, threads, parts }, inputs: prefix.label, data, checkpointFile: opened.latestCheckpoint,
      stopRequested: stop.requested, onEvent,
    });
    if (!trained.finished) throw new Stopped('a stop was requested');
    return { trained, kept: await evaluateKept({ stop, onEvent }, { model, session, data, trained }) };
  } finally {
    await session.dispose();
  }
}

/** Whether what gradients decide is still to be decided: neither a checkpoint nor the adapter to start from holds it. */
async function isFresh({ trial, latestCheckpoint }: OpenTrial): Promise<boolean> {
  return trial.recipe.init === undefined && !(await readCheckpointHeader(latestCheckpoint));
}

/** As the checkpoint has them, since they decide bits; else as the study asks and the memory allows. */
async function partsOf({ opened: { trial, latestCheckpoint }, engine: { engine } }: TrialWork, whole: Model, { start, warn }: Required<Pick<PartOptions, 'start' | 'warn'>>): Promise<PartsUsed> {
  const before = await readCheckpointHeader(latestCheckpoint);
  if (before) return before.engine.parts ?? { images: whole.batch, recompute: 'off' };
  const { images, recompute } = trial.memory ?? { images: 'auto', recompute: 'auto' };
  return chooseParts({ spec: whole, start, warn, asked: { images, recompute }, engine, budget: memoryBudget() });
}

/** Without what only the frozen prefix reads. */
function stillRead(frozen: HostTensors, { training, evaluation }: UsedPrefixes): HostTensors {
  return Object.fromEntries(Object.entries(frozen).filter(([name]) => training.reads.has(name) || evaluation.reads.has(name)));
}

async function loadTrialBackbone({ backbone }: Trial): Promise<Backbone> {
  const { heads, layerNormEpsilon, activation, imageSize, projection } = backbone.architecture;
  const loaded = await loadBackbone({ file: backbone.file, architecture: { heads, layerNormEpsilon, activation }, imageSize, projection });
  if (loaded.fingerprint !== backbone.fingerprint) {
    throw new UserError({ what: 'the backbone changed since the study was started', where: backbone.file, remedy: 'Run the study again: its trials are then made for the file as it is now.' });
  }
  return loaded;
}

interface StartOptions {
  trial: Trial;
  model: Model;
  backbone: Backbone;
  warn(message: string): void;
}

/** By seed, with a head from texts where there is one, or from the adapter that the recipe names. */
async function startingState({ trial, model, backbone, warn }: StartOptions): Promise<HostTensors> {
  const state = { ...initialState(model, { base: backbone.tensors, takesBase: true, seed: trial.recipe.seed }), ...await startingHead(trial) };
  if (trial.recipe.init === undefined) return state;
  const adapter = await loadAdapter(trial.recipe.init);
  checkBackbone(adapter, backbone);
  const wrong = model.tensors.find(({ name, shape, source }) => source !== 'head' && adapter.tensors[name]?.shape.join() !== shape.join());
  if (adapter.manifest.method.id !== trial.method.id || wrong) {
    throw new UserError({
      what: `it holds ${adapter.manifest.method.id} ${JSON.stringify(adapter.manifest.method.options)}; the trial trains ${trial.method.id} ${JSON.stringify(trial.method.options)}`,
      where: trial.recipe.init, remedy: 'Start from an adapter of the same method and options.',
    });
  }
  const [known, classes] = [adapter.manifest.classes, trial.data.classes];
  const keepsHead = known.length === classes.length && known.every((name, i) => name === classes[i]);
  if (!keepsHead) warn('the adapter to start from knows other classes than this data set: the head starts anew');
  const taken = model.tensors.filter(({ source }) => source !== 'head' || keepsHead);
  return { ...state, ...Object.fromEntries(taken.map(({ name }) => [name, adapter.tensors[name]!])) };
}

async function startingHead({ data: { textEmbeddings, classes }, backbone }: Trial): Promise<HostTensors> {
  if (!textEmbeddings) return {};
  const { file, fingerprint, width } = textEmbeddings;
  const changed = (await fingerprintFile(file).catch(() => null)) !== fingerprint;
  if (changed) throw new UserError({ what: 'the class embeddings changed since the study was started, or are gone', where: file, remedy: 'Run the study again: its trials are then made for the file as it is now.' });
  return textHead(await readTextEmbeddings({ file, classes, width }), await readProjection(backbone.file));
}

/** The adapter of the kept epoch, and what it says of every split. */
interface Kept {
  epoch: number;
  tensors: HostTensors;
  evaluations: Record<string, { batches: TrialData['train']; evaluated: Evaluated }>;
}

/** Evaluates every split with the kept tensors, unless the last epoch's evaluation is at hand and is the kept one. */
async function evaluateKept({ stop, onEvent }: Pick<TrialWork, 'stop' | 'onEvent'>, { model, session, data, trained }: Pick<Prepared, 'model' | 'session' | 'data'> & { trained: Trained }): Promise<Kept> {
  const { last, best } = trained.progress;
  if (!last || !best) throw new Error('the training ended without an evaluated epoch');
  const epoch = trained.best ? best.epoch : last.epoch;
  const isLast = epoch === last.epoch;
  const tensors = isLast ? adapterOf(model, await session.readState()) : trained.best!;
  if (!isLast) await session.writeState(tensors);
  const splits = Object.entries(evaluatedBySplit(data));
  const evaluations: Kept['evaluations'] = {};
  for (const [split, batches] of splits) {
    const known = isLast ? (trained.lastEvaluation as Record<string, Evaluated | undefined>)[split] : undefined;
    if (!known) onEvent({ type: 'phase', time: Date.now(), phase: 'evaluating', detail: split });
    const evaluated = known ?? await evaluate({ session, model, batches, stopRequested: stop.requested });
    if (!evaluated) throw new Stopped('a stop was requested');
    evaluations[split] = { batches, evaluated };
  }
  return { epoch, tensors, evaluations };
}

interface Finished extends Pick<Prepared, 'model' | 'data' | 'prefix'> {
  trained: Trained;
  kept: Kept;
  warnings: Warnings;
}

/** The kept epoch's predictions and adapter; then the result, which marks the trial as finished. */
async function recordResult(work: TrialWork, finished: Finished): Promise<void> {
  const { opened } = work;
  for (const [split, { batches, evaluated }] of Object.entries(finished.kept.evaluations)) {
    await opened.writePredictions(split, { logits: evaluated.logits, samples: batches.usable });
  }
  const adapter = condense({ ...finished.model, tensors: finished.kept.tensors });
  await saveTrialAdapter(opened, adapter, null);
  await saveTrialAdapter(opened, adapter, await certifyOrWarn(work, { ...finished, model: { ...finished.model, options: adapter.options } }, adapter.tensors));
  opened.writeResult(resultOf(work, finished));
  fs.rmSync(opened.latestCheckpoint, { force: true });
}

function saveTrialAdapter({ trial, adapterFolder }: OpenTrial, { options, tensors }: { options: Record<string, unknown>; tensors: HostTensors }, certificate: ParityCertificate | null): Promise<void> {
  const { method: { id, version }, backbone: { name, fingerprint, architecture }, recipe: { normalization, resize }, data: { classes } } = trial;
  return saveAdapter({
    folder: adapterFolder, tensors,
    manifest: { method: { id, version, options }, backbone: { name, fingerprint, architecture }, classes, normalization, resize, certificate },
  });
}

/** Images that the parity certificate is measured on. */
const certifiedImages = 8;

/**
 * Measured in f32; after a training in another precision on the graph engine, since the libraries of a GPU take theirs once for
 * a process. Null, with a warning, where it cannot be measured: a finished training is not lost for it.
 */
async function certifyOrWarn({ opened, engine: { engine: own, threads } }: TrialWork, { model, data, warnings }: Finished, trained: HostTensors): Promise<ParityCertificate | null> {
  const batches = data.evaluated.test ?? data.evaluated.validation ?? data.train;
  const engine = opened.trial.recipe.precision === 'f32' ? own : engines.graph;
  try {
    collectGarbage(); // what the training held: moments, sums, the frozen weights
    const [{ tensors: base }, { tensors: reloaded }] = [await loadTrialBackbone(opened.trial), await loadAdapter(opened.adapterFolder)];
    for await (const { patches, count: images } of batches.inOrder({ batchSize: certifiedImages, only: batches.usable.slice(0, certifiedImages).map((_, i) => i) })) {
      return await certify({ model: { ...model, batch: certifiedImages }, base, trained, reloaded, patches, images, imagesFrom: 'data set', engine, threads });
    }
  } catch (error) {
    const cause = causeOf(error);
    warnings.add(`the adapter's parity certificate could not be measured: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  return null;
}

function resultOf({ opened: { trial }, engine: { engine, replaced } }: TrialWork, { data, trained: { progress }, kept, warnings, prefix }: Finished): TrialResult {
  const extra = Object.fromEntries(Object.keys(data.extra).map((name): [string, Metrics] => [name, kept.evaluations[extraSplit(name)]!.evaluated.metrics]));
  return {
    trial: trial.id, finished: Date.now(), engines: progress.engines,
    bitReproducible: engine.deterministic && progress.engines.length === 1 && !replaced.length,
    ...replaced.length > 0 && { failedEngines: [...replaced] },
    steps: progress.step, epochs: progress.epochs, trainSeconds: progress.seconds, imagesPerSecond: imagesPerSecond(progress),
    ...prefix.label !== null && { prefix: { training: prefix.training.stage, evaluation: prefix.evaluation.stage, seconds: prefix.seconds } },
    peakMemoryMiB: process.resourceUsage().maxRSS / 1024,
    last: progress.last!, best: progress.best!, selection: { split: selectionSplit({ data }), metric: trial.recipe.selection.metric, keptEpoch: kept.epoch },
    extra, parameters: trial.parameters, skippedImages: data.skipped, classCounts: data.classCounts, warnings: [...warnings.all],
  };
}

/** Warnings are told when they arise, and stand in the result. */
interface Warnings {
  all: readonly string[];
  add(message: string): void;
}

function openWarnings({ opened: { trial }, engine, onEvent }: TrialWork): Warnings {
  const all = [...trial.backbone.warnings];
  const add = (message: string) => {
    all.push(message);
    onEvent({ type: 'warning', time: Date.now(), message });
  };
  for (const failed of engine.replaced) add(`the engine ${failed.engine} failed (${failed.why}); ${engine.engine.id} took its place`);
  if (engine.differsFromCheckpoint) add(engine.differsFromCheckpoint);
  return { all, add };
}

function warnAboutRecipe({ recipe }: Trial, data: TrialData, warn: (message: string) => void): void {
  if (data.skipped.length) warn(`${data.skipped.length} image${data.skipped.length === 1 ? ' was' : 's were'} skipped: ${data.skipped.slice(0, 3).map(({ path }) => path).join(', ')}${data.skipped.length > 3 ? ', ...' : ''}`);
  if (recipe.schedule !== 'constant' && recipe.warmupEpochs >= recipe.epochs && recipe.steps === undefined) {
    warn(`the warm-up of ${recipe.warmupEpochs} epochs is not shorter than the training of ${recipe.epochs}: the learning rate never reaches ${recipe.learningRate}`);
  }
  if (recipe.selection.epoch === 'best' && !data.evaluated.validation) {
    warn('there is no validation split to choose the best epoch on: the last epoch is kept');
  }
}
