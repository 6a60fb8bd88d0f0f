import type { Normalization } from './study';
import type { ChannelNormalization } from './trial';

/** The numbers behind a normalisation's name: pixels in [0, 1] become (pixel - mean) / std, channel by channel. */
export function channelNormalization(normalization: Exclude<Normalization, 'backbone'>): ChannelNormalization {
  if (typeof normalization !== 'string') return normalization;
  return named[normalization];
}

const named = {
  none: { mean: [0, 0, 0], std: [1, 1, 1] },
  imagenet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  clip: { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] },
  '0.5': { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
} satisfies Record<string, ChannelNormalization>;

export const normalizationNames = Object.keys(named) as readonly (keyof typeof named)[];
