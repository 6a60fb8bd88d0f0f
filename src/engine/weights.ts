import type { SessionOptions, Weights } from './program';

/** Where nobody predicted what memory a session takes, weights above this many bytes are fed rather than built in. */
const smallWeights = 64 * 2 ** 20;

export function placeOfWeights({ weights, constants }: Pick<SessionOptions, 'weights' | 'constants'>): Weights {
  const bytes = Object.values(constants).reduce((sum, { data }) => sum + data.byteLength, 0);
  return weights ?? (bytes > smallWeights ? 'fed' : 'built-in');
}
