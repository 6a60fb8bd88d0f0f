/** What a data set's owner should know before believing its numbers. */
import type { Sample } from '../common/trial';

const imbalanced = 3;

/** Classes without training images, and a largest class more than three times the smallest. */
export function imbalanceWarnings(classes: readonly string[], counts: readonly number[]): string[] {
  const absent = classes.filter((_, i) => !counts[i]);
  const warnings = absent.length ? [`${absent.length} of ${classes.length} classes have no training image: ${shorten(absent)}`] : [];
  const present = counts.map((count, i) => ({ count, name: classes[i]! })).filter(one => one.count > 0);
  const most = present.reduce((a, b) => b.count > a.count ? b : a), least = present.reduce((a, b) => b.count < a.count ? b : a);
  if (most.count <= imbalanced * least.count) return warnings;
  const ratio = (most.count / least.count).toFixed(1);
  return [...warnings, `classes are imbalanced: ${most.count} training images of "${most.name}", ${least.count} of "${least.name}" (${ratio} to 1). ` +
    'Look at balanced accuracy and macro-F1 beside top-1; recipe.classWeights "balanced" weighs the classes'];
}

/** The same picture in training and test, under two names. */
export function sharedContentWarnings(samples: readonly Sample[], hashes: readonly string[]): string[] {
  const trained = new Map<string, string>();
  samples.forEach((sample, i) => { if (sample.split === 'train') trained.set(hashes[i]!, sample.path); });
  const shared = new Map<string, string[]>();
  samples.forEach((sample, i) => {
    const twin = sample.split === 'train' ? undefined : trained.get(hashes[i]!);
    if (twin !== undefined) shared.set(sample.split, [...(shared.get(sample.split) ?? []), `${sample.path} = ${twin}`]);
  });
  return [...shared].map(([split, pairs]) => `${pairs.length} images of ${split} are also in train under another name (${shorten(pairs)}); accuracy will look better than it is`);
}

function shorten(names: readonly string[]): string {
  return names.length > 5 ? `${names.slice(0, 5).join(', ')}, ...` : names.join(', ');
}
