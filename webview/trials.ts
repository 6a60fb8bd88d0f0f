/** Which trials are shown, in which order, and how: pure functions over a snapshot. */
import { bestPerMethod } from '../src/common/ranking';
import type { Overlap, Snapshot, SnapshotTrial, TrialStatus } from '../src/common/snapshot';
import { duration, integer, percent, rate, setting } from '../src/common/format';
import type { PanelState } from './state';

export interface Column {
  id: string;
  title: string;
  /** A sentence for whoever hovers over the title. */
  explanation: string;
  numeric: boolean;
  value: (trial: SnapshotTrial) => number | string | null;
  text: (trial: SnapshotTrial) => string;
}

const text = (id: string, title: string, explanation: string, value: (t: SnapshotTrial) => string): Column =>
  ({ id, title, explanation, numeric: false, value, text: value });
type NumberOf = (trial: SnapshotTrial) => number | null;
const number = (id: string, title: string, explanation: string, value: NumberOf, format: (v: number | null) => string): Column =>
  ({ id, title, explanation, numeric: true, value, text: trial => format(value(trial)) });
const evaluated = (t: SnapshotTrial) => t.test ?? t.validation;

export const columns: readonly Column[] = [
  text('label', 'Trial', 'The method and what the search chose', t => t.label),
  text('method', 'Method', 'The method\'s id', t => t.method),
  text('dataSet', 'Data set', 'What it was trained and tested on', t => t.dataSet),
  text('status', 'Status', 'How far the trial is', t => t.status),
  number('trainable', 'Parameters', 'Trained parameters without the classification head', t => t.parameters.trainable, integer),
  number('validation', 'Validation', 'Top-1 accuracy on the validation split, last epoch', t => t.validation?.top1 ?? null, percent),
  number('test', 'Test', 'Top-1 accuracy on the test split, last epoch', t => t.test?.top1 ?? null, percent),
  number('balanced', 'Balanced', 'Balanced accuracy (mean recall of the classes) on test, else validation', t => evaluated(t)?.balancedAccuracy ?? null, percent),
  number('f1', 'Macro-F1', 'Mean F1 of the classes on test, else validation', t => evaluated(t)?.macroF1 ?? null, percent),
  number('speed', 'Images/s', 'Training images a second', t => t.imagesPerSecond, rate),
  number('seconds', 'Time', 'Time spent in training steps', t => t.trainSeconds || null, v => v === null ? '–' : duration(v)),
  number('learningRate', 'Learning rate', 'Peak learning rate', t => t.learningRate, v => setting(v ?? 0)),
];

const statusOrder: Record<TrialStatus, number> = { running: 0, finished: 1, failed: 2, interrupted: 3, cancelled: 4, queued: 5 };

export function statusText(trial: SnapshotTrial): string {
  const epoch = `epoch ${trial.epoch}/${trial.epochs}`;
  if (trial.status === 'running') return [trial.epoch ? epoch : 'starting', trial.phase].filter(Boolean).join(', ');
  return trial.status === 'interrupted' && trial.epoch ? `interrupted, ${epoch}` : trial.status;
}

/** The trials that the filters let through; every word of the text must occur somewhere. */
export function filterTrials(trials: readonly SnapshotTrial[], filter: Pick<PanelState, 'text' | 'method' | 'status' | 'dataSet'>): SnapshotTrial[] {
  const { method, status, dataSet } = filter;
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return trials.filter(t => (!method || t.method === method) && (!status || t.status === status) && (!dataSet || t.dataSet === dataSet)
    && words.every(word => searchText(t).includes(word)));
}

function searchText(t: SnapshotTrial): string {
  return [t.label, t.method, t.dataSet, t.status, t.engine ?? '', `seed=${t.seed}`, t.error ?? ''].join(' ').toLowerCase();
}

/** By a column; whoever has no value comes last either way. An unknown column leaves the order of the plan. */
export function sortTrials(trials: readonly SnapshotTrial[], { column, descending }: PanelState['sort']): SnapshotTrial[] {
  const value = valueOf(column);
  if (!value) return [...trials];
  return [...trials].sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    const order = typeof x === 'string' ? x.localeCompare(String(y), 'en', { numeric: true }) : x - Number(y);
    return descending ? -order : order;
  });
}

function valueOf(column: string): Column['value'] | undefined {
  return column === 'status' ? t => statusOrder[t.status] : columns.find(c => c.id === column)?.value;
}

/** The trials whose curves are drawn: the chosen ones, else what runs and the best of each method, six in all. */
export function drawnTrials({ trials }: Snapshot, { selected, dataSet }: Pick<PanelState, 'selected' | 'dataSet'>): SnapshotTrial[] {
  const withCurves = trials.filter(t => t.lossCurve.length && (selected || !dataSet || t.dataSet === dataSet));
  if (selected) return withCurves.filter(t => selected.includes(t.id));
  const wanted = [...withCurves.filter(t => t.status === 'running'), ...bestPerMethod(withCurves.filter(t => t.status === 'finished'))].slice(0, 6);
  return withCurves.filter(t => wanted.includes(t));
}

/** A trial's label, with its data set where there are several. */
export function nameOf(trial: SnapshotTrial, { dataSets }: Pick<Snapshot, 'dataSets'>): string {
  return dataSets.length > 1 ? `${trial.label} on ${trial.dataSet}` : trial.label;
}

/** The overlap of two trials with the sides as asked for; null where it was not computed. */
export function overlapBetween(overlaps: readonly Overlap[], a: string, b: string): Overlap | null {
  const found = overlaps.find(o => (o.a === a && o.b === b) || (o.a === b && o.b === a));
  return found ? (found.a === a ? found : swapped(found)) : null;
}

function swapped(o: Overlap): Overlap {
  const pairs = (list: Overlap['examples']['bothWrong']) => list.map(p => ({ ...p, predictedA: p.predictedB, predictedB: p.predictedA }));
  return {
    ...o, a: o.b, b: o.a, onlyAWrong: o.onlyBWrong, onlyBWrong: o.onlyAWrong,
    examples: { onlyAWrong: pairs(o.examples.onlyBWrong), onlyBWrong: pairs(o.examples.onlyAWrong), bothWrong: pairs(o.examples.bothWrong) },
  };
}

/** How a trial's line and mark look: the colour says the method, the dash which of its trials. */
export function appearances(trials: readonly SnapshotTrial[]): Map<string, { colour: number; variant: number }> {
  const methods = [...new Set(trials.map(t => t.method))];
  const seen = new Map<string, number>();
  return new Map(trials.map(t => {
    const variant = seen.get(t.method) ?? 0;
    seen.set(t.method, variant + 1);
    return [t.id, { colour: methods.indexOf(t.method), variant }];
  }));
}
