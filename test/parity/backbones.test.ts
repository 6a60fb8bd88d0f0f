/** Tiny backbones saved by timm, transformers, OpenCLIP and in Google's npz: features as those libraries compute them (tools/backbone-goldens.py). */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import type { Architecture } from '../../src/common/trial';
import { useBackend } from '../../src/engine/eager';
import type { HostTensor, HostTensors } from '../../src/engine/program';
import { tf } from '../../src/engine/tfjs';
import { openSafetensors } from '../../src/interop/safetensors';
import { forward } from '../../src/vit/forward';
import { loadBackbone, readProjection } from '../../src/vit/weights';

const folder = path.resolve(process.cwd(), 'test/fixtures/backbones');

/** What a file without configuration leaves open; everything else must be found beside it. */
const given: Record<string, { heads: number; layerNormEpsilon?: number }> = {
  'timm-dinov2': { heads: 2 }, 'timm-mae': { heads: 2 }, 'timm-clip': { heads: 2 },
};

describe('features of backbones from', () => {
  for (const name of fs.readdirSync(folder)) {
    it(name, async () => {
      const file = ['model.safetensors', 'model.npz'].map(f => path.join(folder, name, f)).find(f => fs.existsSync(f))!;
      const expected = await readTensors(path.join(folder, name, 'expected.safetensors'));
      const backbone = await loadBackbone({ file, architecture: given[name] });
      const features = await featuresOf(backbone.tensors, backbone.architecture, expected['images']!);
      assertClose(features, expected['features']!.data as Float32Array, 'features');
      assert.equal(backbone.projection === null, expected['embeddings'] === undefined);
      if (!expected['embeddings']) return;
      const { shape: [side], data } = await readProjection(file);
      assertClose(project(features, data as Float32Array, side!), expected['embeddings'].data as Float32Array, 'embeddings');
    });
  }
});

async function featuresOf(tensors: HostTensors, architecture: Architecture, images: HostTensor): Promise<Float32Array> {
  await useBackend('cpu');
  const batch = images.shape[0]!;
  const all = { ...tensors, 'head.weight': zeros([1, architecture.width]), 'head.bias': zeros([1]) };
  const made = new Map(Object.entries(all).map(([name, { shape, data }]) => [name, tf.tensor(data as Float32Array, [...shape])]));
  const patches = patchRows(images, architecture);
  const features = tf.tidy(() => forward({ patches, batch, architecture, weights: name => made.get(name)! }).features);
  try {
    return await features.data() as Float32Array;
  } finally {
    tf.dispose([features, patches, ...made.values()]);
  }
}

/** [batch, 3, side, side] to rows `patch * batch + image`. */
function patchRows({ shape, data }: HostTensor, { patch }: Architecture) {
  const [batch, channels, side] = shape as [number, number, number];
  const grid = side / patch, columns = channels * patch ** 2;
  const out = new Float32Array(data.length);
  for (let image = 0; image < batch; image++) {
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++) {
          const token = Math.floor(y / patch) * grid + Math.floor(x / patch);
          out[(token * batch + image) * columns + (c * patch + y % patch) * patch + x % patch] = data[((image * channels + c) * side + y) * side + x]!;
        }
      }
    }
  }
  return tf.tensor2d(out, [grid ** 2 * batch, columns]);
}

/** features [batch, width] times projection [side, width] transposed. */
function project(features: Float32Array, projection: Float32Array, side: number): Float32Array {
  const width = projection.length / side;
  return Float32Array.from({ length: features.length / width * side }, (_, i) => {
    const [image, row] = [Math.floor(i / side), i % side];
    let sum = 0;
    for (let k = 0; k < width; k++) sum += features[image * width + k]! * projection[row * width + k]!;
    return sum;
  });
}

function assertClose(own: ArrayLike<number>, theirs: ArrayLike<number>, what: string): void {
  assert.equal(own.length, theirs.length, what);
  let worst = 0;
  for (let i = 0; i < own.length; i++) worst = Math.max(worst, Math.abs(own[i]! - theirs[i]!));
  assert.ok(worst <= 1e-5, `${what} differ by ${worst}`);
}

function zeros(shape: number[]): HostTensor {
  return { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
}

async function readTensors(file: string): Promise<HostTensors> {
  const opened = await openSafetensors(file);
  const tensors: HostTensors = {};
  for (const [name, { shape }] of opened.tensors) tensors[name] = { shape, data: await opened.read(name) };
  await opened.close();
  return tensors;
}
