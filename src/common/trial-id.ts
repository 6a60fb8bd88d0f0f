import { createHash } from 'node:crypto';
import type { Trial } from './trial';

/**
 * The hash that names a trial: over everything that decides its numbers (backbone, contents of the data, method,
 * recipe, what is evaluated), and nothing that does not (names, paths, engine, machine). Settings that came later are left
 * out where they have the value that trials before them were computed with.
 */
export function trialId(trial: Omit<Trial, 'id'>): string {
  const { backbone, data, method, recipe, recipeVersion, evaluation, initFingerprint, prefixCache } = trial;
  const { init: _path, precision, ...numbers } = recipe;
  return shortHash({
    backbone: { fingerprint: backbone.fingerprint, architecture: backbone.architecture },
    data: { fingerprint: data.fingerprint, classes: data.classes, onBadImage: data.onBadImage, textEmbeddings: data.textEmbeddings?.fingerprint },
    method: { id: method.id, version: method.version, options: method.options },
    recipe: { ...numbers, ...precision !== 'f32' && { precision } }, recipeVersion, init: initFingerprint,
    ...typeof prefixCache === 'object' && prefixCache.precision !== 'f32' && { prefixPrecision: prefixCache.precision },
    evaluation: { ...evaluation, extra: evaluation.extra.map(({ name, split }) => ({ name, split })) },
  });
}

/** The first 12 hexadecimal digits of the sha256 of a value's canonical JSON. */
export function shortHash(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex').slice(0, 12);
}

/** JSON with sorted keys and without what is undefined: equal values give equal text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => isRecord(inner)
    ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
