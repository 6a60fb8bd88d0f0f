import { labelTrials } from '../analysis/labels';
import { counted, fileSize, integer, roughDuration } from '../common/format';
import type { Trial } from '../common/trial';
import { openStudyStore } from '../store/study-store';
import { atMostEvery } from './at-most-every';
import type { Command } from './command';
import { trialCost, type TrialCost } from './cost';
import { loadStudy, type LoadedStudy } from './load-study';
import { planPrefixes, type PlannedPrefix } from './planned-prefix';
import { prepareStudy, type PreparedStudy } from './prepare';
import { measuredSpeed } from './speed';
import { textTable } from './text-table';

export const plan: Command = {
  usage: 'plan STUDY [--json]',
  summary: 'List a study\'s trials, their trainable parameters and their predicted cost; runs nothing',
  flags: {},
  positionals: ['STUDY'],
  async run({ positionals, output }) {
    const loaded = await loadStudy(positionals[0]!);
    const prepared = await prepareStudy(loaded, atMostEvery(10_000, output.say));
    const document = await planDocument(loaded, prepared);
    output.print(planTable(document));
    [...prepared.facts.backbone.warnings, ...prepared.warnings].forEach(warning => output.say(`Warning: ${warning}`));
    output.document(document);
    return 0;
  },
};

type PlanDocument = Awaited<ReturnType<typeof planDocument>>;

async function planDocument(loaded: LoadedStudy, { trials, dataSets, facts, warnings }: PreparedStudy) {
  const store = openStudyStore(loaded.store);
  const labels = labelTrials(trials);
  const speed = await measuredSpeed(loaded.store);
  const countsOf = (trial: Trial) => dataSets.find(d => d.dataSet.fingerprint === trial.data.fingerprint)!.classCounts;
  const prefixes = await planPrefixes(trials, countsOf);
  const planned = trials.map(trial => {
    const prefix = prefixes?.byTrial.get(trial.id) ?? null;
    return describeTrial(trial, { label: labels.get(trial.id)!, finished: store.isFinished(trial.id), cost: trialCost(trial, countsOf(trial), prefix ?? undefined), speed, prefix });
  });
  const open = planned.filter(t => !t.finished);
  return {
    study: loaded.name, file: loaded.file, store: loaded.store,
    trials: planned,
    finished: planned.length - open.length,
    predictedTeraFlops: sum(open.map(t => t.predicted.teraFlops)),
    predictedSeconds: speed === null ? null : sum(open.map(t => t.predicted.seconds!)),
    prefixCache: prefixes && { bytes: prefixes.bytes, stored: prefixes.stored, maxBytes: prefixes.maxBytes },
    warnings: [...facts.backbone.warnings, ...warnings],
  };
}

function describeTrial(trial: Trial, { label, finished, cost, speed, prefix }: { label: string; finished: boolean; cost: TrialCost; speed: number | null; prefix: PlannedPrefix | null }) {
  return {
    id: trial.id, dataSet: trial.data.name, method: trial.method.id, label, options: trial.method.options,
    learningRate: trial.recipe.learningRate, weightDecay: trial.recipe.weightDecay, seed: trial.recipe.seed,
    parameters: trial.parameters, finished, prefix,
    predicted: { ...cost, seconds: speed === null ? null : Math.round(cost.teraFlops / speed) },
  };
}

function planTable({ trials, finished, predictedSeconds, predictedTeraFlops, prefixCache }: PlanDocument): string {
  const rows = trials.map(t => [
    `${t.label} on ${t.dataSet}`, integer(t.parameters.trainable), integer(t.predicted.steps), integer(t.predicted.teraFlops),
    t.finished ? 'finished' : t.predicted.seconds === null ? '' : roughDuration(t.predicted.seconds),
  ]);
  const time = predictedSeconds === null ? `${integer(predictedTeraFlops)} TFLOP; the time shows once a trial has run on this machine` : `${roughDuration(predictedSeconds)} as fast as this machine was so far`;
  const left = finished === trials.length ? '' : `; to do: ${time}`;
  return `${textTable(['trial', 'trainable', 'steps', 'TFLOP', 'time'], rows)}\n\n${counted(trials.length, 'trial')}, ${finished} finished${left}.${prefixText(trials, prefixCache)}`;
}

function prefixText(trials: PlanDocument['trials'], cache: PlanDocument['prefixCache']): string {
  const using = trials.filter(t => t.prefix).length;
  if (!cache || !using) return '';
  const excess = cache.bytes > cache.maxBytes ? ' They do not all fit: raise "prefixCache.maxGB", or some are computed anew at every step.' : '';
  return `\nWhat nothing that trains reaches is computed once for ${counted(using, 'trial')}: ${fileSize(cache.bytes)} of features on disk, of at most ${fileSize(cache.maxBytes)} (now ${fileSize(cache.stored)}).${excess}`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
