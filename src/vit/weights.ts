/** A backbone from a safetensors or npz file, whatever library named its tensors: what it is, and its tensors by timm's names. */
import { createHash, type Hash } from 'node:crypto';
import path from 'node:path';
import { UserError } from '../common/errors';
import { channelNormalization } from '../common/normalization';
import type { Normalization } from '../common/study';
import type { Architecture, ChannelNormalization } from '../common/trial';
import type { HostTensor, HostTensors } from '../engine/program';
import { product } from '../interop/arrays';
import { projectionName } from '../interop/dialects/dialect';
import type { MappedTensor, NameMap } from '../interop/dialects/map-names';
import { openTensorFile, type TensorFile } from '../interop/tensor-file';
import { baseParameters, gridSide } from './architecture';
import { findFacts } from './facts';
import { resamplePositions } from './resample-positions';
import { architectureOfShapes, findNames } from './shapes';

/** What the study file says of its backbone beside the file name. */
export interface BackboneOverrides {
  architecture?: {
    heads?: number | undefined;
    layerNormEpsilon?: number | undefined;
    activation?: Architecture['activation'] | undefined;
  } | undefined;
  /** Side of the input in pixels; positions are resampled when the file's own differs. */
  imageSize?: number | undefined;
  normalization?: Normalization | undefined;
  /** For a head on CLIP's projection: its width, which must be that of the file's own. */
  projection?: number | undefined;
}

export interface BackboneDescription {
  architecture: Architecture;
  /** What the backbone was trained with at its input. */
  normalization: ChannelNormalization;
  /** What had to be assumed, in words. */
  warnings: string[];
  /** Width of the space into which CLIP projects its features; null where the file has no such projection. */
  projection: number | null;
}

export interface Backbone extends BackboneDescription {
  file: string;
  /** float32 by timm name, positions already resampled, without the head. */
  tensors: HostTensors;
  /** See `fingerprintBackbone`. */
  fingerprint: string;
}

/** Reads the whole backbone; UserErrors as those of `readArchitecture` and `openTensorFile`. */
export async function loadBackbone({ file, ...overrides }: BackboneOverrides & { file: string }): Promise<Backbone> {
  return withFile(file, async opened => {
    const described = await describeBackbone(opened, overrides);
    const tensors: HostTensors = {};
    const fingerprint = await readAll(opened, described, (name, tensor) => { tensors[name] = tensor; });
    tensors['pos_embed'] = resamplePositions(tensors['pos_embed']!, gridSide(described.architecture));
    const { architecture, normalization, warnings, projection } = described;
    return { architecture, normalization, warnings, projection, file, tensors, fingerprint };
  });
}

/** Reads the header only. UserError when the tensors are not those of a plain ViT or when overrides do not fit them. */
export function readArchitecture(file: string, overrides: BackboneOverrides = {}): Promise<BackboneDescription> {
  return withFile(file, async opened => {
    const { architecture, normalization, warnings, projection } = await describeBackbone(opened, overrides);
    return { architecture, normalization, warnings, projection };
  });
}

/**
 * sha256, in hexadecimal, of name, shape and float32 values of every backbone tensor: equal for one backbone in any
 * library's names, file format or company (heads, text towers), and before positions are resampled.
 */
export function fingerprintBackbone(file: string): Promise<string> {
  return withFile(file, async opened => readAll(opened, await describeBackbone(opened, {}, { needsFacts: false }), () => undefined));
}

/** CLIP's projection [embedding, width]; UserError where the file has none. */
export function readProjection(file: string): Promise<HostTensor> {
  return withFile(file, async opened => {
    const { map, projection } = await describeBackbone(opened, {}, { needsFacts: false });
    const mapped = map.tensors.get(projectionName);
    if (projection === null || !mapped) throw noProjection(file);
    await refuseClassifier(opened, mapped);
    return readMapped(opened, mapped);
  });
}

/** For a head that needs the projection. */
export function noProjection(file: string): UserError {
  return new UserError({
    what: 'the backbone has no projection into the space of text embeddings', where: file,
    remedy: 'Use a CLIP image tower saved with it (`visual.proj`, `visual_projection.weight`, or the head of a timm CLIP model).',
  });
}

interface Described extends BackboneDescription {
  map: NameMap;
  /** As in the file, before another image size was asked for. */
  own: Architecture;
}

async function describeBackbone(opened: TensorFile, overrides: BackboneOverrides, { needsFacts = true } = {}): Promise<Described> {
  const file = opened.path;
  const shapes = new Map([...opened.tensors].map(([name, { shape }]) => [name, shape]));
  const { map, warnings: gaps } = completed(file, findNames(file, shapes));
  const shaped = architectureOfShapes(file, map);
  const ours = new Map([...map.tensors].map(([name, { shape }]) => [name, shape]));
  const { facts, warnings } = needsFacts ? await findFacts({
    file, width: shaped.width, metadata: opened.metadata, dialect: map.dialect.facts?.({ ours, theirs: shapes }) ?? {},
    study: { ...overrides.architecture, normalization: givenNormalization(overrides.normalization) },
  }) : { facts: noFacts, warnings: [] };
  const { normalization, ...rest } = facts;
  const own = { ...shaped, ...rest };
  const projection = map.tensors.get(projectionName)?.shape[0] ?? null;
  if (overrides.projection !== undefined && overrides.projection !== projection) throw noProjection(file);
  return {
    map, own, normalization, projection, warnings: [...gaps, ...warnings],
    architecture: {
      ...own, imageSize: wholePatches(file, overrides.imageSize ?? shaped.imageSize, shaped.patch),
      ...overrides.projection !== undefined && { projection: overrides.projection },
    },
  };
}

/** For who only reads tensors, which do not depend on them. */
const noFacts = { heads: 1, layerNormEpsilon: 1, activation: 'gelu', normalization: channelNormalization('none') } as const;

function wholePatches(file: string, imageSize: number, patch: number): number {
  if (imageSize % patch === 0) return imageSize;
  throw new UserError({
    what: `images of ${imageSize} pixels are not made of whole patches of ${patch}`, where: file,
    remedy: `Set backbone.imageSize in the study file to a multiple of ${patch}.`,
  });
}

/** Files without a final LayerNorm get a fresh one, as MAE's fine-tuning does; what else a file says of itself, in words. */
function completed(file: string, map: NameMap): { map: NameMap; warnings: string[] } {
  const name = path.basename(file);
  const decoder = map.leftOut.filter(tensor => /(^|\.)decoder[._]/.test(tensor));
  const warnings = decoder.length ? [`${name}: ${decoder.length} tensors of a decoder (${decoder[0]!}, ...) take no part and are left out.`] : [];
  const norm = map.tensors.get('norm.weight');
  if (norm?.sources[0]?.name.includes('fc_norm')) {
    warnings.push(`${name} was fine-tuned with average pooling (fc_norm); here that LayerNorm is applied to the class token, so features differ from the original's until it is trained.`);
  }
  const width = map.tensors.get('cls_token')?.shape.at(-1);
  if (norm || map.tensors.has('norm.bias') || width === undefined) return { map, warnings };
  const fresh: MappedTensor = { shape: [width], sources: [] };
  warnings.push(`${name} has no final LayerNorm: a fresh one (weight 1, bias 0) takes its place.`);
  return { map: { ...map, tensors: new Map([...map.tensors, ['norm.weight', fresh], ['norm.bias', fresh]]) }, warnings };
}

/** Every backbone tensor in timm's order, as the file has it; the fingerprint of all. */
async function readAll(opened: TensorFile, { map, own }: Described, take: (name: string, tensor: HostTensor) => void): Promise<string> {
  const hash = createHash('sha256');
  for (const { name } of baseParameters(own)) {
    const mapped = map.tensors.get(name)!;
    const tensor = mapped.sources.length ? await readMapped(opened, mapped) : freshNorm(name, mapped);
    hashTensor(hash, name, tensor);
    take(name, tensor);
  }
  return hash.digest('hex');
}

function freshNorm(name: string, { shape }: MappedTensor): HostTensor {
  return { shape, data: new Float32Array(product(shape)).fill(name.endsWith('.weight') ? 1 : 0) };
}

async function readMapped(opened: TensorFile, { shape, sources }: MappedTensor): Promise<HostTensor> {
  const parts: Float32Array[] = [];
  for (const { name, layout } of sources) parts.push(layout.arrange(await opened.read(name), opened.tensors.get(name)!.shape));
  if (parts.length === 1) return { shape, data: parts[0]! };
  const data = new Float32Array(product(shape));
  let offset = 0;
  for (const part of parts) {
    data.set(part, offset);
    offset += part.length;
  }
  return { shape, data };
}

function hashTensor(hash: Hash, name: string, { shape, data }: HostTensor): void {
  hash.update(`${name}\0${shape.join('x')}\0`);
  hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

/** A head whose bias is not 0 was trained as a classifier. */
async function refuseClassifier(opened: TensorFile, { sources }: MappedTensor): Promise<void> {
  const bias = sources[0]!.name.replace(/\.weight$/, '.bias');
  if (bias === sources[0]!.name || !opened.tensors.has(bias)) return;
  if ((await opened.read(bias)).some(value => value !== 0)) throw noProjection(opened.path);
}

/** 'backbone' says nothing: the backbone itself is asked then. */
function givenNormalization(normalization: Normalization | undefined): ChannelNormalization | undefined {
  return normalization === undefined || normalization === 'backbone' ? undefined : channelNormalization(normalization);
}

async function withFile<Result>(file: string, use: (opened: TensorFile) => Promise<Result>): Promise<Result> {
  const opened = await openTensorFile(file);
  try {
    return await use(opened);
  } finally {
    await opened.close();
  }
}
