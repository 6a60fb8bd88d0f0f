/** Which epochs and trials are best: pure functions that the panel, the report and the snapshot share. */
import type { Overlap, SnapshotTrial } from './snapshot';
import type { Metrics, Trial } from './trial';

/** The metric that a study's selection looks at. */
export function metricValue(metrics: Metrics, metric: Trial['recipe']['selection']['metric']): number {
  switch (metric) {
    case 'top1': return metrics.top1;
    case 'balanced-accuracy': return metrics.balancedAccuracy;
    case 'macro-f1': return metrics.macroF1;
    default: return metric satisfies never;
  }
}

/** What one trial is judged by when nothing else is said: validation first, since the test split must not select. */
export function score(trial: { validation: Metrics | null; test: Metrics | null }): number {
  return trial.validation?.top1 ?? trial.test?.top1 ?? -1;
}

/** Best first; equal ones: fewer trained parameters first, then as given. */
export function rankTrials<T extends Pick<SnapshotTrial, 'validation' | 'test' | 'parameters'>>(trials: readonly T[]): T[] {
  return [...trials].sort((a, b) => score(b) - score(a) || a.parameters.trainable - b.parameters.trainable);
}

/** The best trial of every method, best first. */
export function bestPerMethod<T extends Pick<SnapshotTrial, 'validation' | 'test' | 'parameters' | 'method'>>(trials: readonly T[]): T[] {
  const best = new Map<string, T>();
  for (const trial of rankTrials(trials)) if (!best.has(trial.method)) best.set(trial.method, trial);
  return [...best.values()];
}

/** By how much an ensemble beats the better of its two members; negative when it loses. */
export function ensembleGain(overlap: Pick<Overlap, 'samples' | 'ensembleTop1' | 'onlyAWrong' | 'onlyBWrong' | 'bothWrong'>): number {
  const wrong = Math.min(overlap.onlyAWrong, overlap.onlyBWrong) + overlap.bothWrong;
  return overlap.samples ? overlap.ensembleTop1 - (1 - wrong / overlap.samples) : 0;
}
