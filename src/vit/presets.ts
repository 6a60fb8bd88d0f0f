import type { Architecture } from '../common/trial';

/** Well-known architectures by timm's name, at 224 pixels: for counts without a file, and for what a config.json names. */
export const presets: Record<string, Architecture> = {
  vit_tiny_patch16_224: plain({ width: 192, heads: 3 }),
  vit_small_patch16_224: plain({ width: 384, heads: 6 }),
  vit_small_patch32_224: plain({ width: 384, heads: 6, patch: 32 }),
  vit_base_patch16_224: plain({ width: 768, heads: 12 }),
  vit_base_patch16_384: plain({ width: 768, heads: 12, imageSize: 384 }),
  vit_base_patch32_224: plain({ width: 768, heads: 12, patch: 32 }),
  vit_base_patch8_224: plain({ width: 768, heads: 12, patch: 8 }),
  vit_base_patch16_224_in21k: plain({ width: 768, heads: 12 }),
  vit_large_patch16_224: plain({ width: 1024, heads: 16, depth: 24 }),
  vit_large_patch32_224: plain({ width: 1024, heads: 16, depth: 24, patch: 32 }),
  vit_huge_patch14_224: plain({ width: 1280, heads: 16, depth: 32, patch: 14 }),
  deit_tiny_patch16_224: plain({ width: 192, heads: 3 }),
  deit_small_patch16_224: plain({ width: 384, heads: 6 }),
  deit_base_patch16_224: plain({ width: 768, heads: 12 }),
  deit_base_patch16_384: plain({ width: 768, heads: 12, imageSize: 384 }),
  // As OpenAI trained them; timm's other CLIP weights (LAION and the like) have plain GELU.
  vit_base_patch32_clip_224: clip({ width: 768, heads: 12, patch: 32 }),
  vit_base_patch16_clip_224: clip({ width: 768, heads: 12 }),
  vit_large_patch14_clip_224: clip({ width: 1024, heads: 16, depth: 24, patch: 14 }),
  vit_large_patch14_clip_336: clip({ width: 1024, heads: 16, depth: 24, patch: 14, imageSize: 336 }),
  // Their positions are for 518 pixels and are resampled to 224.
  vit_small_patch14_dinov2: plain({ width: 384, heads: 6, patch: 14, layerScale: true }),
  vit_base_patch14_dinov2: plain({ width: 768, heads: 12, patch: 14, layerScale: true }),
  vit_large_patch14_dinov2: plain({ width: 1024, heads: 16, depth: 24, patch: 14, layerScale: true }),
  mae_vit_base_patch16: plain({ width: 768, heads: 12 }),
  mae_vit_large_patch16: plain({ width: 1024, heads: 16, depth: 24 }),
  mae_vit_huge_patch14: plain({ width: 1280, heads: 16, depth: 32, patch: 14 }),
};

/** What the authors, the unifying study and Hugging Face call some of them. */
const aliases: Record<string, string> = {
  'ViT-B/32': 'vit_base_patch32_clip_224', 'ViT-B/16': 'vit_base_patch16_clip_224', 'ViT-L/14': 'vit_large_patch14_clip_224', 'ViT-L/14@336px': 'vit_large_patch14_clip_336',
  'clip-vit-base-patch32': 'vit_base_patch32_clip_224', 'clip-vit-base-patch16': 'vit_base_patch16_clip_224', 'clip-vit-large-patch14': 'vit_large_patch14_clip_224',
  dinov2_vits14: 'vit_small_patch14_dinov2', dinov2_vitb14: 'vit_base_patch14_dinov2', dinov2_vitl14: 'vit_large_patch14_dinov2',
  'dinov2-small': 'vit_small_patch14_dinov2', 'dinov2-base': 'vit_base_patch14_dinov2', 'dinov2-large': 'vit_large_patch14_dinov2',
  vit_base_mae: 'mae_vit_base_patch16', 'vit-mae-base': 'mae_vit_base_patch16', 'vit-mae-large': 'mae_vit_large_patch16',
  'vit-base-patch16-224': 'vit_base_patch16_224', 'vit-base-patch16-224-in21k': 'vit_base_patch16_224_in21k', 'vit-large-patch16-224': 'vit_large_patch16_224',
  'deit-tiny-patch16-224': 'deit_tiny_patch16_224', 'deit-small-patch16-224': 'deit_small_patch16_224', 'deit-base-patch16-224': 'deit_base_patch16_224',
};

/** By timm's name, with or without an owner (`timm/`) before it and a tag (`.fb_in1k`) behind, or by another usual name. */
export function findPreset(name: string): Architecture | null {
  const candidates = [name, name.slice(name.lastIndexOf('/') + 1)].map(n => n.split('.')[0]!.replace('_clip_quickgelu_', '_clip_'));
  const known = candidates.map(n => (Object.hasOwn(aliases, n) ? aliases[n]! : n)).find(n => Object.hasOwn(presets, n));
  return known === undefined ? null : presets[known]!;
}

/** All names that `findPreset` knows without tags. */
export function presetNames(): string[] {
  return [...Object.keys(presets), ...Object.keys(aliases)];
}

function plain(special: Partial<Architecture> & { width: number; heads: number }): Architecture {
  return {
    imageSize: 224, patch: 16, depth: 12, hidden: 4 * special.width, layerNormEpsilon: 1e-6, activation: 'gelu',
    preNorm: false, patchBias: true, layerScale: false, qkvBias: true,
    ...special,
  };
}

function clip(special: Partial<Architecture> & { width: number; heads: number }): Architecture {
  return plain({ preNorm: true, patchBias: false, layerNormEpsilon: 1e-5, activation: 'quick-gelu', ...special });
}
