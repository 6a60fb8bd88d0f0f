import { counted, magnitude, percent, points } from '../common/format';
import { bestPerMethod, ensembleGain } from '../common/ranking';
import type { Overlap, Snapshot, SnapshotTrial } from '../common/snapshot';

/** What a study found, in plain sentences: the best method of each data set, how far apart they are, what pairs gain. */
export function summarize(snapshot: Snapshot): string[] {
  const sentences = snapshot.dataSets.flatMap(({ name }) => summarizeDataSet(snapshot, name));
  const { failed, total } = snapshot.progress;
  const unfinished = snapshot.trials.filter(t => t.status !== 'finished' && t.status !== 'failed').length;
  return [
    ...sentences,
    ...failed ? [`${failed} of ${counted(total, 'trial')} failed and ${failed === 1 ? 'is' : 'are'} left out.`] : [],
    ...unfinished ? [`${counted(unfinished, 'trial')} ${unfinished === 1 ? 'has' : 'have'} not finished: this is an interim result.`] : [],
  ];
}

interface Scored {
  trial: SnapshotTrial;
  top1: number;
}

function summarizeDataSet({ trials, overlaps }: Snapshot, dataSet: string): string[] {
  const finished = trials.filter(t => t.dataSet === dataSet && t.status === 'finished');
  const split = finished.some(t => t.test) ? 'test' : 'validation';
  const scored = bestPerMethod(finished).flatMap((trial): Scored[] => trial[split] ? [{ trial, top1: trial[split].top1 }] : []);
  const [winner] = scored;
  if (!winner) return [];
  return [
    `Best on ${dataSet}: ${winner.trial.label}, ${percent(winner.top1)} ${split} top-1 with ${describeParameters(winner.trial)}${selectionNote(finished)}.`,
    ...spread(scored, split),
    ...frugal(scored),
    ...ensemble(finished, overlaps),
  ];
}

function describeParameters({ parameters: { trainable, backbone } }: SnapshotTrial): string {
  if (!trainable) return 'the head alone trained';
  return `${magnitude(trainable)} trained parameters (${Number((100 * trainable / backbone).toPrecision(2))}% of the backbone)`;
}

function selectionNote(finished: readonly SnapshotTrial[]): string {
  if (finished.length < 2) return '';
  const chosenOn = finished.some(t => t.validation) ? 'on validation' : 'on the test split itself, there being no validation split';
  return `, chosen ${chosenOn} among ${finished.length} trials`;
}

/** How far apart the methods are, and how much of that the size of the split could explain. */
function spread(scored: readonly Scored[], split: 'test' | 'validation'): string[] {
  if (scored.length < 2) return [];
  const ordered = [...scored].sort((a, b) => a.top1 - b.top1);
  const [low, high] = [ordered[0]!, ordered.at(-1)!];
  const samples = high.trial[split]!.samples;
  return [`The ${scored.length} methods' best trials lie between ${percent(low.top1)} (${low.trial.label}) and ${percent(high.top1)} (${high.trial.label}); `
    + `with ${counted(samples, 'image')}, differences of less than about ${points(chanceDifference(high.top1, samples)).slice(1)} points may be chance.`];
}

/** Half-width of the 95 % interval of the difference of two accuracies near `top1`, each on so many samples. */
function chanceDifference(top1: number, samples: number): number {
  const clipped = Math.min(Math.max(top1, 1 / samples), 1 - 1 / samples); // at 0 and 1 the normal approximation says 0
  return 1.96 * Math.sqrt(2 * clipped * (1 - clipped) / Math.max(1, samples));
}

/** A method that comes close with at most half the parameters. */
function frugal([winner, ...others]: readonly Scored[]): string[] {
  const close = others.filter(o => winner!.top1 - o.top1 < 0.015 && o.trial.parameters.trainable <= winner!.trial.parameters.trainable / 2);
  const [choice] = close.sort((a, b) => a.trial.parameters.trainable - b.trial.parameters.trainable);
  if (!choice) return [];
  const difference = choice.top1 - winner!.top1;
  const distance = `${points(difference).slice(1)} points`;
  const verdict = difference > 0 ? `is ${distance} better` : difference === 0 ? 'is as good' : `is ${distance} behind`;
  return [`${choice.trial.label} ${verdict} with ${describeParameters(choice.trial)}.`];
}

function ensemble(finished: readonly SnapshotTrial[], overlaps: readonly Overlap[]): string[] {
  const labels = new Map(finished.map(t => [t.id, t.label]));
  const best = overlaps.filter(o => labels.has(o.a) && labels.has(o.b))
    .reduce<Overlap | null>((found, o) => !found || o.ensembleTop1 > found.ensembleTop1 ? o : found, null);
  if (!best) return [];
  const wrongSomewhere = best.onlyAWrong + best.onlyBWrong + best.bothWrong;
  const gain = ensembleGain(best);
  return [`The best pair is ${labels.get(best.a)} with ${labels.get(best.b)}: averaging their probabilities gives ${percent(best.ensembleTop1)}, `
    + `${gain > 0 ? `${points(gain)} points against the better of the two` : 'no more than the better of the two has alone'}; `
    + `they share ${percent(wrongSomewhere ? best.bothWrong / wrongSomewhere : 0)} of their mistakes.`];
}
