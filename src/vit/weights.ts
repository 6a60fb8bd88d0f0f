/** A backbone from a safetensors file with timm's names: what it is, and its tensors. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { UserError } from '../common/errors';
import { channelNormalization } from '../common/normalization';
import type { Normalization } from '../common/study';
import type { Architecture, ChannelNormalization } from '../common/trial';
import type { HostTensors } from '../engine/program';
import { type SafetensorsFile, openSafetensors } from '../interop/safetensors';
import { baseParameters, gridSide } from './architecture';
import { findFacts } from './facts';
import { resamplePositions } from './resample-positions';
import { architectureOfShapes } from './shapes';

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
}

export interface BackboneDescription {
  architecture: Architecture;
  /** What the backbone was trained with at its input. */
  normalization: ChannelNormalization;
  /** What had to be assumed, in words. */
  warnings: string[];
}

export interface Backbone extends BackboneDescription {
  file: string;
  /** float32 by timm name, positions already resampled, without the head. */
  tensors: HostTensors;
  /** sha256 of the file's content. */
  fingerprint: string;
}

/** Reads the whole backbone; UserErrors as those of `readArchitecture` and `openSafetensors`. */
export async function loadBackbone({ file, ...overrides }: BackboneOverrides & { file: string }): Promise<Backbone> {
  return withFile(file, async opened => {
    const description = await describeBackbone(opened, overrides);
    const tensors: HostTensors = {};
    for (const { name } of baseParameters(description.architecture)) {
      tensors[name] = { shape: opened.tensors.get(name)!.shape, data: await opened.read(name) };
    }
    tensors['pos_embed'] = resamplePositions(tensors['pos_embed']!, gridSide(description.architecture));
    return { ...description, file, tensors, fingerprint: await fingerprintFile(file) };
  });
}

/** Reads the header only. UserError when the tensors are not those of a plain ViT or when overrides do not fit them. */
export function readArchitecture(file: string, overrides: BackboneOverrides = {}): Promise<BackboneDescription> {
  return withFile(file, opened => describeBackbone(opened, overrides));
}

/** sha256 of a file's content, in hexadecimal. */
export async function fingerprintFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(fs.createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

async function describeBackbone(opened: SafetensorsFile, overrides: BackboneOverrides): Promise<BackboneDescription> {
  const file = opened.path;
  const shaped = architectureOfShapes(file, new Map([...opened.tensors].map(([name, { shape }]) => [name, shape])));
  const { facts, warnings } = await findFacts({
    file, width: shaped.width, metadata: opened.metadata,
    study: { ...overrides.architecture, normalization: givenNormalization(overrides.normalization) },
  });
  const { normalization, ...rest } = facts;
  const imageSize = overrides.imageSize ?? shaped.imageSize;
  if (imageSize % shaped.patch) {
    throw new UserError({
      what: `images of ${imageSize} pixels are not made of whole patches of ${shaped.patch}`, where: file,
      remedy: `Set backbone.imageSize in the study file to a multiple of ${shaped.patch}.`,
    });
  }
  return { architecture: { ...shaped, ...rest, imageSize }, normalization, warnings };
}

/** 'backbone' says nothing: the backbone itself is asked then. */
function givenNormalization(normalization: Normalization | undefined): ChannelNormalization | undefined {
  return normalization === undefined || normalization === 'backbone' ? undefined : channelNormalization(normalization);
}

async function withFile<Result>(file: string, use: (opened: SafetensorsFile) => Promise<Result>): Promise<Result> {
  const opened = await openSafetensors(file);
  try {
    return await use(opened);
  } finally {
    await opened.close();
  }
}
