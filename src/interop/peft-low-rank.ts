/** LoRA, rsLoRA and DoRA between PEFT's layers and PEFT Lab's tensors; the names are those of peft/low-rank.ts. */
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';
import { type BackboneAtHand, type ExchangedAdapter, cannotHold, mergeInstead } from './exchanged';
import { type FloatTensor, type FloatTensors, rowsOf, scaled, stackRows, zeros } from './float-tensors';
import { type Dialect, type Place, type Third, placeName, thirds } from './module-names';
import type { PeftFolder, PeftForm, PeftModule } from './peft-folder';

/** Layers of a block, and the patch embedding, as options call them. */
type Layer = 'qkv' | 'proj' | 'fc1' | 'fc2' | 'patch_embed';
const layerPaths = { qkv: 'attn.qkv', proj: 'attn.proj', fc1: 'mlp.fc1', fc2: 'mlp.fc2' } satisfies Record<Exclude<Layer, 'patch_embed'>, string>;

interface LowRankOptions {
  rank: number;
  alpha: number | null;
  rankStabilized: boolean;
  dropout: number;
  /** Thirds of qkv and other layers. */
  targets: string[];
  blocks: number[] | null;
  sharing: 'fused' | 'separate';
}

/** One pair of factors: dW = scale * b a on `thirds` of qkv (one below the other in b), or on a whole layer. */
interface Factors {
  a: FloatTensor; // [r, in]
  b: FloatTensor; // [out, r]
  scale: number;
  /** [out]; null without. */
  magnitude: FloatTensor | null;
}

/** UserError where layers or shapes are none that the methods here can have. */
export function lowRankFromPeft(folder: PeftFolder, { architecture }: BackboneAtHand): ExchangedAdapter {
  const id = folder.modules.some(({ tensors }) => tensors['lora_magnitude_vector']) ? 'dora' : 'lora';
  const sharing = folder.modules.some(({ path, third }) => path.endsWith('attn.qkv') && third) ? 'separate' : 'fused';
  const pairs = new Map<string, Factors>();
  for (const module of folder.modules) pairs.set(keyOf(module), readFactors(module, architecture, folder.folder));
  const { targets, blocks } = adaptedPlaces(folder.modules, architecture);
  fillGaps(pairs, { targets, blocks, architecture, folder, needsMagnitude: id === 'dora' });
  const rank = Math.max(...[...pairs.values()].map(({ a }) => a.shape[0]!));
  const scale = pairs.values().next().value!.scale;
  const isWhole = blocks.length === architecture.depth || !blocks.length;
  const options: LowRankOptions = {
    rank, ...alphaOf(folder, { rank, scale }), dropout: folder.dropout, targets, blocks: isWhole ? null : blocks, sharing,
  };
  const tensors: FloatTensors = {};
  for (const [key, factors] of pairs) {
    const { a, b } = padded(factors, { rank, scale });
    const names = tensorNames(id, key, sharing);
    Object.assign(tensors, { [names.a]: a, [names.b]: b });
  }
  if (id === 'dora') Object.assign(tensors, magnitudes(pairs));
  return { method: { id, options: id === 'lora' ? { ...options, variant: 'original' } : { ...options } }, tensors };
}

/** In PEFT's form for a dialect; UserError where a part of the method has no place in it. */
export function lowRankToPeft({ method, tensors }: ExchangedAdapter, dialect: Dialect, backbone: BackboneAtHand): PeftForm {
  const options = method.options as unknown as LowRankOptions & { sharing: LowRankOptions['sharing'] | null; variant?: string };
  const sharing = options.sharing ?? (options.variant === 'study' ? 'fused' : 'separate');
  const scale = options.alpha === null ? 1 : options.alpha / (options.rankStabilized ? Math.sqrt(options.rank) : options.rank);
  const isDora = method.id === 'dora';
  const layers = adaptedLayers(options, backbone.architecture);
  const modules = layers.flatMap(({ path, layer }) => {
    const own = ownFactors(path, layer, { id: method.id, options: { ...options, sharing }, tensors, scale });
    const placed = layer !== 'qkv' ? [{ third: null, factors: own[0]!.factors }]
      : dialect === 'timm' ? [{ third: null, factors: fuseThirds(path, own, backbone) }] : splitThirds(own);
    return placed.map(({ third, factors }) => ({ name: nameIn(dialect, { path, third }), tensors: toTensors(factors, layer, backbone.architecture), scale, layer }));
  });
  return { modules, config: { ...ranksOf(modules, options, scale), lora_dropout: options.dropout, use_dora: isDora, bias: 'none' } };
}

// ---- from PEFT

/** A place's key: the layer's path, with the third behind a #. */
function keyOf({ path, third }: Place): string {
  return third ? `${path}#${third}` : path;
}

function readFactors({ tensors, path, third, name, scale }: PeftModule, architecture: Architecture, folder: string): Factors {
  const { lora_A: a, lora_B: b, lora_magnitude_vector: magnitude = null } = tensors;
  const where = `${folder} (layer '${name}')`, remedy = 'Save the adapter again with save_pretrained.';
  if (!a || !b) throw new UserError({ what: `lora_${a ? 'B' : 'A'} is missing`, where, remedy });
  const [outputs, inputs] = shapeOf(layerOf(path), third, architecture);
  const flat = (tensor: FloatTensor, rows: number): FloatTensor => ({ shape: [rows, tensor.data.length / rows], data: tensor.data });
  const factors = { a: flat(a, a.shape[0]!), b: flat(b, b.shape[0]!), scale, magnitude: magnitude && { shape: [magnitude.data.length], data: magnitude.data } };
  const rank = a.shape[0]!;
  const fits = factors.a.shape[1] === inputs && factors.b.shape.join() === [outputs, rank].join() && (!magnitude || magnitude.data.length === outputs);
  if (!fits) {
    throw new UserError({
      what: `lora_A is [${a.shape.join(', ')}] and lora_B [${b.shape.join(', ')}], for a layer of ${inputs} inputs and ${outputs} outputs`, where,
      remedy: 'Name the backbone that the adapter was trained on with --backbone.',
    });
  }
  return factors;
}

function adaptedPlaces(modules: readonly PeftModule[], { depth }: Architecture): { targets: string[]; blocks: number[] } {
  const targets = new Set<string>(), blocks = new Set<number>();
  for (const { path, third } of modules) {
    const layer = layerOf(path), block = blockOf(path);
    for (const target of layer === 'qkv' ? (third ? [third] : thirds) : [layer]) targets.add(target);
    if (block !== null) blocks.add(block);
  }
  const beyond = [...blocks].find(block => block >= depth);
  if (beyond !== undefined) throw new UserError({ what: `it adapts block ${beyond}, and the backbone has ${depth}`, remedy: 'Name the backbone that the adapter was trained on with --backbone.' });
  const order = [...thirds, 'proj', 'fc1', 'fc2', 'patch_embed'];
  return { targets: order.filter(target => targets.has(target)), blocks: [...blocks].sort((a, b) => a - b) };
}

interface Gaps { targets: readonly string[]; blocks: readonly number[]; architecture: Architecture; folder: PeftFolder; needsMagnitude: boolean }

/** A layer that one block adapts and another does not gets an update of nothing there. */
function fillGaps(pairs: Map<string, Factors>, { targets, blocks, architecture, folder, needsMagnitude }: Gaps): void {
  const fused = !folder.modules.some(({ path, third }) => path.endsWith('attn.qkv') && third);
  if (!fused) splitFused(pairs, architecture);
  for (const block of blocks) {
    for (const target of targets.filter(t => t !== 'patch_embed')) {
      const third = thirds.find(t => t === target) ?? null;
      const layer = third ? 'qkv' : target as Layer;
      const path = pathOf(layer, block), key = keyOf({ path, third: fused ? null : third });
      if (pairs.has(key)) continue;
      if (needsMagnitude) {
        throw new UserError({ what: `some blocks adapt ${target} and block ${block} does not`, where: folder.folder, remedy: 'With DoRA every adapted block must adapt the same layers; merge the adapter in PEFT and use the result as a backbone.' });
      }
      const [outputs, inputs] = shapeOf(layer, fused ? null : third, architecture);
      pairs.set(key, { a: zeros(1, inputs), b: zeros(outputs, 1), scale: pairs.values().next().value!.scale, magnitude: null });
    }
  }
}

/** Fused pairs beside separate ones become three: A for each, B cut in rows. */
function splitFused(pairs: Map<string, Factors>, { width }: Architecture): void {
  for (const [key, { a, b, scale, magnitude }] of [...pairs]) {
    if (!key.endsWith('attn.qkv')) continue;
    pairs.delete(key);
    thirds.forEach((third, i) => pairs.set(`${key}#${third}`, {
      a, b: rowsOf(b, i * width, (i + 1) * width), scale, magnitude: magnitude && rowsOf(magnitude, i * width, (i + 1) * width),
    }));
  }
}

/** The alpha that gives the scale at this rank. */
function alphaOf({ rsLora }: PeftFolder, { rank, scale }: { rank: number; scale: number }): Pick<LowRankOptions, 'alpha' | 'rankStabilized'> {
  const alpha = scale * (rsLora ? Math.sqrt(rank) : rank);
  // The division and the product may leave a last digit: 16 / 8 * 8 is 16, sqrt(3) * 4 / sqrt(3) need not be 4.
  const tidy = Number(alpha.toPrecision(12));
  return { alpha: tidy, rankStabilized: rsLora };
}

/** All pairs to one rank, by zeros, and to one scale, by B. */
function padded({ a, b, scale: own }: Factors, { rank, scale }: { rank: number; scale: number }): { a: FloatTensor; b: FloatTensor } {
  const had = a.shape[0]!;
  const b0 = scaled(b, own / scale);
  if (had === rank) return { a, b: b0 };
  const wider = zeros(b.shape[0]!, rank);
  for (let row = 0; row < b.shape[0]!; row++) wider.data.set(b0.data.subarray(row * had, (row + 1) * had), row * rank);
  return { a: stackRows([a, zeros(rank - had, a.shape[1]!)]), b: wider };
}

/** One vector a layer: the magnitudes of the adapted thirds in the order q, k, v. */
function magnitudes(pairs: ReadonlyMap<string, Factors>): FloatTensors {
  const parts = new Map<string, FloatTensor[]>();
  const ordered = [...pairs].sort(([a], [b]) => thirdIndex(a) - thirdIndex(b));
  for (const [key, { magnitude }] of ordered) {
    const path = key.split('#')[0]!;
    if (magnitude) parts.set(path, [...parts.get(path) ?? [], magnitude]);
  }
  return Object.fromEntries([...parts].map(([path, list]) => [magnitudeName(path), stackRows(list)]));
}

function thirdIndex(key: string): number {
  return thirds.indexOf(key.split('#')[1] as Third);
}

// ---- to PEFT

function adaptedLayers({ targets, blocks }: Pick<LowRankOptions, 'targets' | 'blocks'>, { depth }: Architecture): { path: string; layer: Layer }[] {
  const has = (layer: Layer) => layer === 'qkv' ? thirds.some(third => targets.includes(third)) : targets.includes(layer);
  const all = Array.from({ length: depth }, (_, block) => block).filter(block => !blocks || blocks.includes(block) || blocks.includes(block - depth));
  return [
    ...has('patch_embed') ? [{ path: 'patch_embed.proj', layer: 'patch_embed' as const }] : [],
    ...all.flatMap(block => (['qkv', 'proj', 'fc1', 'fc2'] as const).filter(has).map(layer => ({ path: pathOf(layer, block), layer }))),
  ];
}

interface OwnContext { id: string; options: LowRankOptions; tensors: FloatTensors; scale: number }
interface Own { thirds: Third[]; factors: Factors }

/** The method's own pairs on a layer, with the rows of the magnitudes that are theirs. */
function ownFactors(path: string, layer: Layer, { id, options, tensors, scale }: OwnContext): Own[] {
  const read = (key: string, magnitude: FloatTensor | null): Factors => {
    const names = tensorNames(id, key, options.sharing);
    return { a: tensors[names.a]!, b: tensors[names.b]!, scale, magnitude };
  };
  const whole = id === 'dora' ? tensors[magnitudeName(path)]! : null;
  if (layer !== 'qkv') return [{ thirds: [], factors: read(path, whole) }];
  const adapted = thirds.filter(third => options.targets.includes(third));
  if (options.sharing === 'fused') return [{ thirds: adapted, factors: read(path, whole) }];
  const width = whole ? whole.data.length / adapted.length : 0;
  return adapted.map((third, i) => ({ thirds: [third], factors: read(`${path}#${third}`, whole && rowsOf(whole, i * width, (i + 1) * width)) }));
}

/** For transformers' separate layers: pairs that share one A give each third that A and its own rows of B. */
function splitThirds(own: readonly Own[]): { third: Third; factors: Factors }[] {
  return own.flatMap(({ thirds: adapted, factors: { a, b, scale, magnitude } }) => {
    const rows = b.shape[0]! / adapted.length;
    return adapted.map((third, i) => ({
      third, factors: { a, b: rowsOf(b, i * rows, (i + 1) * rows), scale, magnitude: magnitude && rowsOf(magnitude, i * rows, (i + 1) * rows) },
    }));
  });
}

/** For timm's fused layer: the pairs' A one below the other, their B in blocks along the diagonal, zero rows for thirds left out. */
function fuseThirds(path: string, own: readonly Own[], backbone: BackboneAtHand): Factors {
  const { width } = backbone.architecture;
  const a = stackRows(own.map(({ factors }) => factors.a));
  const rank = a.shape[0]!, b = zeros(3 * width, rank);
  let column = 0;
  for (const { thirds: adapted, factors } of own) {
    const inner = factors.a.shape[0]!;
    adapted.forEach((third, i) => {
      for (let row = 0; row < width; row++) {
        b.data.set(factors.b.data.subarray((i * width + row) * inner, (i * width + row + 1) * inner), (thirds.indexOf(third) * width + row) * rank + column);
      }
    });
    column += inner;
  }
  const hasMagnitude = own[0]!.factors.magnitude !== null;
  return { a, b, scale: own[0]!.factors.scale, magnitude: hasMagnitude ? wholeMagnitude(path, own, backbone) : null };
}

/** Thirds that are not adapted keep their length: the norms of the backbone's own rows. */
function wholeMagnitude(path: string, own: readonly Own[], { architecture: { width }, base }: BackboneAtHand): FloatTensor {
  const parts = new Map(own.flatMap(({ thirds: adapted, factors }) => adapted.map((third, i) => [third, rowsOf(factors.magnitude!, i * width, (i + 1) * width)] as const)));
  return stackRows(thirds.map(third => {
    const known = parts.get(third);
    if (known) return known;
    const weight = base(`${path}.weight`);
    if (!weight) throw cannotHold(`timm's fused qkv layer needs the lengths of the backbone's rows for ${third}, which is not adapted`, 'Name the backbone with --backbone, or export for --dialect hf.');
    const from = thirds.indexOf(third) * width;
    return { shape: [width], data: Float32Array.from({ length: width }, (_, row) => norm(weight.data.subarray((from + row) * width, (from + row + 1) * width))) };
  }));
}

function norm(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
}

function nameIn(dialect: Dialect, place: Place): string {
  const name = placeName(place, dialect);
  if (name === null) throw cannotHold(`transformers' ViT has no layer '${place.path}'`, `Export for --dialect timm. ${mergeInstead}`);
  return name;
}

/** A convolution's factors have the kernel's shape. */
function toTensors({ a, b, magnitude }: Factors, layer: Layer, { patch }: Architecture): FloatTensors {
  const [rank, outputs] = [a.shape[0]!, b.shape[0]!];
  const isConvolution = layer === 'patch_embed';
  return {
    'lora_A.weight': isConvolution ? { shape: [rank, 3, patch, patch], data: a.data } : a,
    'lora_B.weight': isConvolution ? { shape: [outputs, rank, 1, 1], data: b.data } : b,
    ...magnitude ? { lora_magnitude_vector: isConvolution ? { shape: [1, outputs, 1, 1], data: magnitude.data } : magnitude } : {},
  };
}

/** r and alpha of most layers; the fused layer may have a higher rank, at the same scale. */
function ranksOf(modules: readonly { name: string; tensors: FloatTensors }[], { rank, rankStabilized }: LowRankOptions, scale: number): Record<string, unknown> {
  const alphaFor = (r: number) => Number((scale * (rankStabilized ? Math.sqrt(r) : r)).toPrecision(12));
  const ranks = modules.map(({ tensors }) => tensors['lora_A.weight']!.shape[0]!);
  const usual = ranks.includes(rank) ? rank : ranks[0]!;
  const special = modules.filter((_, i) => ranks[i] !== usual).map(({ name }) => name.split('.').at(-1)!);
  const higher = ranks.find(r => r !== usual);
  return {
    r: usual, lora_alpha: alphaFor(usual), use_rslora: rankStabilized,
    rank_pattern: Object.fromEntries([...new Set(special)].map(name => [name, higher])),
    alpha_pattern: Object.fromEntries([...new Set(special)].map(name => [name, alphaFor(higher!)])),
  };
}

// ---- names and shapes

/** Of the tensors in an adapter; `key` as keyOf makes it. */
function tensorNames(id: string, key: string, sharing: LowRankOptions['sharing']): { a: string; b: string } {
  const [path, third] = key.split('#') as [string, string | undefined];
  const owner = layerOf(path) === 'qkv' ? path.replace(/\.qkv$/, `.${id}`) : `${path}.${id}`;
  const suffix = sharing === 'separate' && third ? `_${third}` : '';
  return { a: `${owner}.lora_a${suffix}.weight`, b: `${owner}.lora_b${suffix}.weight` };
}

function magnitudeName(path: string): string {
  return layerOf(path) === 'qkv' ? path.replace(/\.qkv$/, '.dora.magnitude') : `${path}.dora.magnitude`;
}

function layerOf(path: string): Layer {
  if (path === 'patch_embed.proj') return 'patch_embed';
  const found = (Object.keys(layerPaths) as (keyof typeof layerPaths)[]).find(layer => path.endsWith(`.${layerPaths[layer]}`));
  if (found) return found;
  throw new UserError({ what: `it adapts '${path}'; here the linear layers of blocks and the patch embedding can be adapted`, remedy: 'Merge the adapter with merge_and_unload in PEFT, and use the result as a backbone.' });
}

function blockOf(path: string): number | null {
  const index = /^blocks\.(\d+)\./.exec(path)?.[1];
  return index === undefined ? null : Number(index);
}

function pathOf(layer: Layer, block: number): string {
  return layer === 'patch_embed' ? 'patch_embed.proj' : `blocks.${block}.${layerPaths[layer]}`;
}

/** Outputs and inputs of a layer or of a third of it. */
function shapeOf(layer: Layer, third: Third | null, { width, hidden, patch }: Architecture): [number, number] {
  switch (layer) {
    case 'patch_embed': return [width, 3 * patch ** 2];
    case 'qkv': return [third ? width : 3 * width, width];
    case 'proj': return [width, width];
    case 'fc1': return [hidden, width];
    case 'fc2': return [width, hidden];
    default: return layer satisfies never;
  }
}
