/** Logits of adapters and of merged models, for comparison with others'. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import type { Architecture } from '../../../src/common/trial';
import { patchify } from '../../../src/data/patchify';
import type { Engine, HostTensors, Program } from '../../../src/engine/program';
import { openTensorFile } from '../../../src/interop/tensor-file';
import type { Adapter } from '../../../src/peft/adapter';
import { findMethod } from '../../../src/peft/registry';
import { backboneProgram, evaluationProgram } from '../../../src/train/program';
import { loadBackbone, type Backbone } from '../../../src/vit/weights';

export async function openFile(file: string): Promise<Backbone & { name: string }> {
  return { ...await loadBackbone({ file }), name: path.basename(file, '.safetensors') };
}

/** The golden PNGs in their order, (pixel / 255 - 0.5) / 0.5. */
export async function goldenPatches(golden: string, { imageSize, patch }: Architecture): Promise<Float32Array> {
  const names = fs.readFileSync(path.join(golden, 'order.txt'), 'utf8').trim().split('\n').map(line => line.split(' ')[0]!);
  const images = await Promise.all(names.map(name => sharp(path.join(golden, name)).removeAlpha().raw().toBuffer()));
  return patchify(Buffer.concat(images), { imageSize, patch, batch: names.length, normalization: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } });
}

export async function evaluateAdapter(engine: Engine, { manifest, tensors }: Pick<Adapter, 'manifest' | 'tensors'>, backbone: Pick<Backbone, 'architecture' | 'tensors'>, patches: Float32Array): Promise<Float32Array> {
  const { architecture } = backbone, batch = batchOf(patches, architecture);
  const model = { architecture, method: findMethod(manifest.method.id), options: manifest.method.options, classes: manifest.classes.length, batch };
  const constants = Object.fromEntries(Object.entries(backbone.tensors).filter(([name]) => !(name in tensors)));
  return run(engine, evaluationProgram(model), { state: tensors, constants, patches, architecture });
}

/** A folder with model.safetensors, by whichever library's names. */
export async function evaluateMerged(engine: Engine, folder: string, patches: Float32Array): Promise<Float32Array> {
  const file = path.join(folder, 'model.safetensors');
  const { architecture, tensors } = await loadBackbone({ file });
  const opened = await openTensorFile(file);
  const head: HostTensors = {};
  for (const part of ['weight', 'bias']) {
    const name = opened.tensors.has(`head.${part}`) ? `head.${part}` : `classifier.${part}`;
    head[`head.${part}`] = { shape: opened.tensors.get(name)!.shape, data: await opened.read(name) };
  }
  await opened.close();
  return run(engine, backboneProgram({ architecture, batch: batchOf(patches, architecture) }), { state: {}, constants: { ...tensors, ...head }, patches, architecture });
}

function batchOf({ length }: Float32Array, { imageSize }: Architecture): number {
  return length / (3 * imageSize ** 2);
}

async function run(engine: Engine, program: Program, { state, constants, patches, architecture }: { state: HostTensors; constants: HostTensors; patches: Float32Array; architecture: Architecture }): Promise<Float32Array> {
  const session = await engine.open({ programs: { evaluate: program }, state, constants, threads: 2 });
  try {
    const columns = 3 * architecture.patch ** 2;
    const { logits } = await session.call('evaluate', { patches: { shape: [patches.length / columns, columns], data: patches } });
    return logits!.data as Float32Array;
  } finally {
    await session.dispose();
  }
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!));
  return largest;
}

/** Normalised images [batch, 3, size, size] as rows of patches. */
export function patchesOfImages({ shape, data }: { shape: readonly number[]; data: Float32Array }, { imageSize, patch }: Architecture): Float32Array {
  const batch = shape[0]!, side = imageSize / patch, columns = 3 * patch ** 2;
  const out = new Float32Array(side * side * batch * columns);
  data.forEach((value, at) => {
    const x = at % imageSize, y = Math.floor(at / imageSize) % imageSize, channel = Math.floor(at / imageSize ** 2) % 3, image = Math.floor(at / (3 * imageSize ** 2));
    const token = Math.floor(y / patch) * side + Math.floor(x / patch);
    out[(token * batch + image) * columns + channel * patch ** 2 + y % patch * patch + x % patch] = value;
  });
  return out;
}
