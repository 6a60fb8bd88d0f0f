import type { Architecture } from '../common/trial';
import type { LinearSite, NormSite } from '../peft/method';

export interface BaseParameter {
  /** timm's name. */
  name: string;
  shape: number[];
}

/** Every parameter of a backbone without its head, in timm's order. */
export function baseParameters(architecture: Architecture): BaseParameter[] {
  const { width, patch, depth, preNorm, patchBias } = architecture;
  return [
    { name: 'cls_token', shape: [1, 1, width] },
    { name: 'pos_embed', shape: [1, 1 + gridSide(architecture) ** 2, width] },
    { name: 'patch_embed.proj.weight', shape: [width, 3, patch, patch] },
    ...(patchBias ? [{ name: 'patch_embed.proj.bias', shape: [width] }] : []),
    ...(preNorm ? weightAndBias('norm_pre', [width]) : []),
    ...Array.from({ length: depth }, (_, block) => blockParameters(`blocks.${block}`, architecture)).flat(),
    ...weightAndBias('norm', [width]),
  ];
}

/** Patches along one side of the image. */
export function gridSide({ imageSize, patch }: Pick<Architecture, 'imageSize' | 'patch'>): number {
  return imageSize / patch;
}

const sitePaths = { qkv: 'attn.qkv', proj: 'attn.proj', fc1: 'mlp.fc1', fc2: 'mlp.fc2' } satisfies Record<Exclude<LinearSite, 'patch_embed'>, string>;

/** timm's name of a linear layer, without `.weight`. */
export function linearPath(site: LinearSite, block: number): string {
  return site === 'patch_embed' ? 'patch_embed.proj' : `blocks.${block}.${sitePaths[site]}`;
}

/** timm's name of a LayerNorm, without `.weight`. */
export function normPath(site: NormSite, block: number): string {
  return site === 'norm1' || site === 'norm2' ? `blocks.${block}.${site}` : site;
}

/** Whether a linear layer of this backbone has a bias. */
export function hasBias(site: LinearSite, { patchBias, qkvBias }: Architecture): boolean {
  return site === 'patch_embed' ? patchBias : site !== 'qkv' || qkvBias;
}

/** A linear layer's weight as a matrix: [outputs, inputs]. */
export function weightShape(site: LinearSite, { width, hidden, patch }: Architecture): [number, number] {
  switch (site) {
    case 'patch_embed': return [width, 3 * patch ** 2];
    case 'qkv': return [3 * width, width];
    case 'proj': return [width, width];
    case 'fc1': return [hidden, width];
    case 'fc2': return [width, hidden];
    default: return site satisfies never;
  }
}

function blockParameters(block: string, { width, hidden, layerScale, qkvBias }: Architecture): BaseParameter[] {
  return [
    ...weightAndBias(`${block}.norm1`, [width]),
    ...weightAndBias(`${block}.attn.qkv`, [3 * width, width]).slice(0, qkvBias ? 2 : 1),
    ...weightAndBias(`${block}.attn.proj`, [width, width]),
    ...(layerScale ? [{ name: `${block}.ls1.gamma`, shape: [width] }] : []),
    ...weightAndBias(`${block}.norm2`, [width]),
    ...weightAndBias(`${block}.mlp.fc1`, [hidden, width]),
    ...weightAndBias(`${block}.mlp.fc2`, [width, hidden]),
    ...(layerScale ? [{ name: `${block}.ls2.gamma`, shape: [width] }] : []),
  ];
}

function weightAndBias(path: string, shape: number[]): BaseParameter[] {
  return [{ name: `${path}.weight`, shape }, { name: `${path}.bias`, shape: [shape[0]!] }];
}
