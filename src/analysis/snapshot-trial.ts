import { metricValue } from '../common/ranking';
import type { SnapshotTrial } from '../common/snapshot';
import type { EpochScore, Trial, TrialEvent } from '../common/trial';
import type { StoredAttempt, StoredTrial } from '../store/read';
import { mergeSteps, thinLossCurve } from './curves';
import type { TrialTime } from './progress';

type EpochEvent = Extract<TrialEvent, { type: 'epoch' }>;
type StepEvent = Extract<TrialEvent, { type: 'step' }>;

/** One trial of the store as the panel shows it; its confusion comes from the predictions, later. */
export function snapshotTrial(stored: StoredTrial, label: string): SnapshotTrial {
  const { trial, result, status } = stored;
  const steps = mergeSteps(stored.events.filter(e => e.type === 'step'));
  const epochs = mergeSteps(stored.events.filter(e => e.type === 'epoch'));
  const last = result?.last ?? scoreOf(epochs.at(-1));
  const best = result?.best ?? bestEpoch(epochs, trial.recipe.selection.metric);
  return {
    ...configurationOf(trial), label, status,
    error: errorOf(stored),
    engine: result?.engines.join(', ') ?? stored.attempts.at(-1)?.attempt?.engine ?? null,
    ...phaseOf(stored),
    epoch: result?.last.epoch ?? Math.max(steps.at(-1)?.epoch ?? 0, epochs.at(-1)?.epoch ?? 0),
    epochs: steps.at(-1)?.epochs ?? result?.epochs ?? trial.recipe.epochs,
    validation: last?.validation ?? null,
    test: last?.test ?? null,
    bestEpoch: best?.epoch ?? null,
    bestValidation: best?.validation ?? null,
    bestTest: best?.test ?? null,
    trainSeconds: result?.trainSeconds ?? epochs.reduce((sum, e) => sum + e.seconds, 0),
    imagesPerSecond: result?.imagesPerSecond ?? steps.at(-1)?.imagesPerSecond ?? null,
    peakMemoryMiB: result?.peakMemoryMiB ?? null,
    lossCurve: thinLossCurve(steps.map(({ step, loss }) => ({ step, loss }))),
    accuracyCurve: epochs.map(e => ({ epoch: e.epoch, validation: e.validation?.top1 ?? null, test: e.test?.top1 ?? null })),
    confusion: null,
    warnings: warningsOf(stored),
  };
}

/** Seconds and share done of a trial, for the study's time left; a running one at the pace of its latest attempt. */
export function trialTime({ status, result, attempts }: Pick<StoredTrial, 'status' | 'result' | 'attempts'>): TrialTime {
  if (status === 'queued' || status === 'interrupted' || status === 'cancelled') return { state: 'waiting', fraction: 0, seconds: 0 };
  if (status === 'running') {
    const latest = attempts.slice(-1);
    const pace = paceOf(latest);
    const last = latest.flatMap(stepsOf).at(-1);
    return { state: 'running', fraction: last ? last.step / last.totalSteps : 0, seconds: last && pace ? last.step * pace : 0 };
  }
  const pace = paceOf(attempts);
  return { state: 'over', fraction: result ? 1 : 0, seconds: result ? Math.max(result.trainSeconds, pace ? pace * result.steps : 0) : 0 };
}

/** Wall-clock seconds a step, evaluation between epochs included, the time between attempts not; null with fewer than two steps seen. */
function paceOf(attempts: readonly Pick<StoredAttempt, 'events'>[]): number | null {
  const spans = attempts.map(stepsOf).filter(steps => steps.length > 1).map(steps => [steps[0]!, steps.at(-1)!] as const);
  const steps = spans.reduce((sum, [first, last]) => sum + last.step - first.step, 0);
  return steps > 0 ? spans.reduce((sum, [first, last]) => sum + last.time - first.time, 0) / 1000 / steps : null;
}

function stepsOf({ events }: Pick<StoredAttempt, 'events'>): StepEvent[] {
  return events.filter(event => event.type === 'step');
}

function configurationOf({ id, data, backbone, method, assignment, recipe, parameters }: Trial) {
  return {
    id, dataSet: data.name, backbone: backbone.name, method: method.id, options: method.options, assignment,
    learningRate: recipe.learningRate, weightDecay: recipe.weightDecay, seed: recipe.seed, parameters,
  };
}

function errorOf({ status, attempts }: StoredTrial): string | null {
  if (status === 'failed') return attempts.at(-1)?.exit?.error ?? 'It failed without a message; its log lies in the attempt\'s folder.';
  if (status === 'interrupted') return 'It was interrupted. Run the study again to go on from its checkpoint.';
  return null;
}

/** What the latest event tells, as long as it is none of training itself. */
function phaseOf({ status, events }: StoredTrial): { phase?: string } {
  const latest = events.findLast(e => e.type !== 'warning');
  if (status !== 'running' || !latest) return {};
  if (latest.type === 'prepare') return { phase: `${latest.activity === 'features' ? 'computing features' : 'reading images'}, ${latest.done} of ${latest.total}` };
  if (latest.type === 'phase' && latest.phase !== 'training') return { phase: latest.phase };
  return {};
}

/** The backbone's warnings are the study's: every trial would repeat them. */
function warningsOf({ trial, events, result }: StoredTrial): string[] {
  const skipped = result?.skippedImages.length ?? 0;
  return [...new Set([
    ...result?.warnings ?? [],
    ...events.flatMap(e => e.type === 'warning' ? [e.message] : []),
    ...skipped ? [`${skipped} unreadable ${skipped === 1 ? 'image was' : 'images were'} skipped, first ${result!.skippedImages[0]!.path}`] : [],
  ])].filter(warning => !trial.backbone.warnings.includes(warning));
}

function scoreOf(event: EpochEvent | undefined): EpochScore | undefined {
  return event && {
    epoch: event.epoch, trainLoss: event.train.loss,
    ...event.validation && { validation: event.validation }, ...event.test && { test: event.test },
  };
}

/** The first of the epochs with the highest metric on validation, or on test where there is no validation split. */
function bestEpoch(epochs: readonly EpochEvent[], metric: Trial['recipe']['selection']['metric']): EpochScore | undefined {
  const value = (e: EpochEvent) => {
    const metrics = e.validation ?? e.test;
    return metrics ? metricValue(metrics, metric) : -1;
  };
  return scoreOf(epochs.filter(e => value(e) >= 0).reduce<EpochEvent | undefined>((best, e) => best && value(best) >= value(e) ? best : e, undefined));
}
