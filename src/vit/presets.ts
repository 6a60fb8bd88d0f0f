import type { Architecture } from '../common/trial';

/** Well-known architectures by timm's name, at 224 pixels: for counts without a file, and for what a config.json names. */
export const presets: Record<string, Architecture> = {
  vit_tiny_patch16_224: plain({ width: 192, heads: 3 }),
  vit_small_patch16_224: plain({ width: 384, heads: 6 }),
  vit_base_patch16_224: plain({ width: 768, heads: 12 }),
  vit_large_patch16_224: plain({ width: 1024, heads: 16, depth: 24 }),
  deit_tiny_patch16_224: plain({ width: 192, heads: 3 }),
  deit_small_patch16_224: plain({ width: 384, heads: 6 }),
  deit_base_patch16_224: plain({ width: 768, heads: 12 }),
  vit_base_patch16_224_in21k: plain({ width: 768, heads: 12 }),
  vit_base_patch32_224: plain({ width: 768, heads: 12, patch: 32 }),
  vit_base_patch8_224: plain({ width: 768, heads: 12, patch: 8 }),
  // As OpenAI trained it; timm's other CLIP weights (LAION and the like) have plain GELU.
  vit_base_patch16_clip_224: plain({
    width: 768, heads: 12, preNorm: true, patchBias: false, layerNormEpsilon: 1e-5, activation: 'quick-gelu',
  }),
  // Their positions are for 518 pixels and are resampled to 224.
  vit_small_patch14_dinov2: plain({ width: 384, heads: 6, patch: 14, layerScale: true }),
  vit_base_patch14_dinov2: plain({ width: 768, heads: 12, patch: 14, layerScale: true }),
  vit_large_patch14_dinov2: plain({ width: 1024, heads: 16, depth: 24, patch: 14, layerScale: true }),
};

function plain(special: Partial<Architecture> & { width: number; heads: number }): Architecture {
  return {
    imageSize: 224, patch: 16, depth: 12, hidden: 4 * special.width, layerNormEpsilon: 1e-6, activation: 'gelu',
    preNorm: false, patchBias: true, layerScale: false, qkvBias: true,
    ...special,
  };
}
