/**
 * What the same layer of a ViT is called by timm and by transformers, of which there are two dialects: `hf` since
 * version 5 (and what PEFT's adapters for it use), `hf4` before, in which checkpoints of the model are still written.
 */

export type Dialect = 'timm' | 'hf' | 'hf4';
export const dialects = ['timm', 'hf', 'hf4'] as const satisfies readonly Dialect[];

export const thirds = ['q', 'k', 'v'] as const;
export type Third = typeof thirds[number];

/** A layer by timm's name; the fused qkv layer may be meant by a third of it, its rows of query, key or value. */
export interface Place {
  path: string;
  third: Third | null;
}

interface Row extends Place { hf: string; hf4: string }

const block = 'blocks.{i}', layer = 'vit.layers.{i}', layer4 = 'vit.encoder.layer.{i}';
const row = (path: string, third: Third | null, hf: string, hf4: string): Row => ({ path, third, hf, hf4 });

/** Layers that both have, `{i}` standing for the index of the block. */
const rows: readonly Row[] = [
  row('patch_embed.proj', null, 'vit.embeddings.patch_embeddings.projection', 'vit.embeddings.patch_embeddings.projection'),
  row(`${block}.norm1`, null, `${layer}.layernorm_before`, `${layer4}.layernorm_before`),
  row(`${block}.attn.qkv`, 'q', `${layer}.attention.q_proj`, `${layer4}.attention.attention.query`),
  row(`${block}.attn.qkv`, 'k', `${layer}.attention.k_proj`, `${layer4}.attention.attention.key`),
  row(`${block}.attn.qkv`, 'v', `${layer}.attention.v_proj`, `${layer4}.attention.attention.value`),
  row(`${block}.attn.proj`, null, `${layer}.attention.o_proj`, `${layer4}.attention.output.dense`),
  row(`${block}.norm2`, null, `${layer}.layernorm_after`, `${layer4}.layernorm_after`),
  row(`${block}.mlp.fc1`, null, `${layer}.mlp.fc1`, `${layer4}.intermediate.dense`),
  row(`${block}.mlp.fc2`, null, `${layer}.mlp.fc2`, `${layer4}.output.dense`),
  row('norm', null, 'vit.layernorm', 'vit.layernorm'),
  row('head', null, 'classifier', 'classifier'),
];

const timmOnly = /^(norm_pre|blocks\.\d+\.attn\.qkv)$/;

/** The layer of that name in whichever dialect; null when it is none that a ViT has. `vit.` in front may be missing. */
export function findPlace(name: string): (Place & { dialects: readonly Dialect[] }) | null {
  if (timmOnly.test(name)) return { path: name, third: null, dialects: ['timm'] };
  for (const { path, third, hf, hf4 } of rows) {
    const spelled = { timm: third ? null : matchIndex(path, name), hf: matchIndex(hf, name), hf4: matchIndex(hf4, name) };
    const found = dialects.filter(dialect => spelled[dialect] !== null);
    if (found.length) return { path: path.replace('{i}', spelled[found[0]!]!), third, dialects: found };
  }
  return null;
}

/** How the dialect calls the layer; null when it has no such layer (thirds in timm, the fused qkv in transformers). */
export function placeName({ path, third }: Place, dialect: Dialect): string | null {
  if (dialect === 'timm') return third ? null : path;
  const index = /^blocks\.(\d+)\./.exec(path)?.[1] ?? '';
  const found = rows.find(known => known.third === third && known.path.replace('{i}', index) === path);
  return found ? found[dialect].replace('{i}', index) : null;
}

/** The shortest end of a layer's name that is usual for target_modules and means no other kind of layer. */
export function usualEnd(name: string): string {
  return layerEnd(name).replace(/^(attention|attn|mlp)\.(?!output|proj)/, '');
}

/** The name without what stands before and in the block's index; the whole name outside blocks. */
export function layerEnd(name: string): string {
  return name.replace(/^.*\.\d+\./, '');
}

/** The index as text, '' where the pattern has none, null for no match. */
function matchIndex(pattern: string, name: string): string | null {
  const [before, after] = pattern.split('{i}') as [string, string | undefined];
  for (const start of new Set([before, before.replace(/^vit\./, '')])) {
    if (after === undefined) {
      if (name === start) return '';
    } else if (name.startsWith(start) && name.endsWith(after)) {
      const index = name.slice(start.length, name.length - after.length);
      if (/^\d+$/.test(index)) return index;
    }
  }
  return null;
}
