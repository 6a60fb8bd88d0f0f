/** A backbone's shape from an adapter alone, for imports without the backbone: what its tensors say, and the usual for the rest. */
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';

export interface KnownShapes {
  /** By timm's layer names. */
  shapes: Record<string, readonly number[]>;
  imageSize: number | null;
  patch: number | null;
}

/** Says in `remarks` what was assumed. UserError where not even the width is known. */
export function guessArchitecture({ shapes, imageSize, patch }: KnownShapes, remarks: string[]): Architecture {
  const width = shapes['head.weight']?.[1];
  if (width === undefined) throw new UserError({ what: 'without a classifier and without a backbone the width cannot be known', remedy: 'Name the backbone with --backbone.' });
  const depth = Math.max(0, ...Object.keys(shapes).map(name => 1 + Number((/\.per_block_para\.(\d+)\./.exec(name) ?? /^blocks\.(\d+)\./.exec(name))?.[1] ?? -1)));
  const promptLayers = shapes['vpt.prompt_embeddings']?.[0];
  const blocks = depth > 1 ? depth : promptLayers !== undefined && promptLayers > 1 ? promptLayers : 12;
  const hidden = hiddenOf(shapes, width);
  remarks.push(`Without a backbone its shape is a guess: ${blocks} blocks of width ${width}, heads of 64, patches of ${patch ?? 16}, images of ${imageSize ?? 224}. ` +
    'Which weights it was trained on is not known, and nothing was measured; name the backbone with --backbone for both.');
  return {
    imageSize: imageSize ?? 224, patch: patch ?? 16, width, depth: blocks, heads: Math.max(1, Math.round(width / 64)), hidden,
    layerNormEpsilon: 1e-6, activation: 'gelu', preNorm: 'norm_pre.weight' in shapes, patchBias: !('norm_pre.weight' in shapes), layerScale: false, qkvBias: true,
  };
}

/** The MLP's hidden width where a tensor of it has that side, else four times the width. */
function hiddenOf(shapes: KnownShapes['shapes'], width: number): number {
  for (const [name, shape] of Object.entries(shapes)) {
    if (/\.mlp\.fc1\.(bias|weight)$/.test(name) || /\.mlp\.fc1\.lora_B$/.test(name) || /\.mlp\.ssf_scale_hidden$/.test(name)) return shape[0]!;
    // PEFT scales a layer's input by [1, in] and its output by [out, 1].
    if (/\.mlp\.fc2\.lora_A$/.test(name) || (/\.mlp\.fc2\.ia3_l$/.test(name) && shape[0] === 1)) return shape[1]!;
  }
  return 4 * width;
}
