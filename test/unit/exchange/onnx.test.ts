/** Models exported as ONNX: run by ONNX Runtime, at any batch size, with either kind of input. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import { patchify } from '../../../src/data/patchify';
import { uniform, streamKey } from '../../../src/common/random';
import type { Architecture } from '../../../src/common/trial';
import { engines } from '../../../src/engine/engines';
import { ModelProtoSchema, type TypeProto } from '../../../src/engine/onnx/generated/onnx_pb';
import { exportOnnx } from '../../../src/exchange/export-onnx';
import { loadAdapter, saveAdapter, type Adapter } from '../../../src/peft/adapter';
import { foldAdapter } from '../../../src/peft/fold';
import { initialize } from '../../../src/peft/initialize';
import { methods, parseMethodOptions } from '../../../src/peft/registry';
import { adapterTensors } from '../../../src/peft/trainable';
import type { Backbone } from '../../../src/vit/weights';
import { tinyArchitecture, tinyBackbone } from '../../fixtures/tiny-vit';
import { evaluateAdapter, largestDifference } from './fixtures';

const normalization = { mean: [0.4, 0.5, 0.6], std: [0.2, 0.25, 0.3] } as { mean: [number, number, number]; std: [number, number, number] };
const peculiar: Architecture = { ...tinyArchitecture, activation: 'quick-gelu', preNorm: true, patchBias: false, layerScale: true, layerNormEpsilon: 1e-5, hidden: 24 };

describe('ONNX export', () => {
  for (const id of Object.keys(methods)) {
    it(`of ${id}: computes what the adapter computes, for one image and for five`, async t => {
      const backbone = tiny(tinyArchitecture), adapter = await adapterOf(t, id, backbone);
      const folds = isFoldable(adapter, backbone);
      for (const merge of folds ? [true, false] : [false]) {
        const file = await exported(t, adapter, backbone, { merge, input: 'float-nchw' });
        for (const batch of [1, 5]) await compare(file, { adapter, backbone, batch, input: 'float-nchw' });
      }
      if (!folds) await assert.rejects(exported(t, adapter, backbone, { merge: true, input: 'float-nchw' }), /cannot be folded[^]*--unmerged/);
    });
  }

  it('holds backbones of every kind, and takes pixels as bytes', async t => {
    const backbone = tiny(peculiar), adapter = await adapterOf(t, 'lora', backbone);
    for (const merge of [true, false]) {
      const file = await exported(t, adapter, backbone, { merge, input: 'uint8-nhwc' });
      await compare(file, { adapter, backbone, batch: 3, input: 'uint8-nhwc' });
    }
  });

  it('of an adapter that came without its backbone: has the shape of the backbone at hand, not the guessed one', async t => {
    const backbone = tiny(peculiar), adapter = await adapterOf(t, 'lora', backbone);
    const guessed: Adapter = { ...adapter, manifest: { ...adapter.manifest, backbone: { name: 'unknown', fingerprint: null, architecture: { ...peculiar, heads: 1, imageSize: 32, activation: 'gelu', layerNormEpsilon: 1e-6 } } } };
    for (const merge of [true, false]) {
      await compare(await exported(t, guessed, backbone, { merge, input: 'float-nchw' }), { adapter, backbone, batch: 2, input: 'float-nchw' });
    }
  });

  it('uses operators of the standard only, has no name for a fixed batch, and says how to prepare images', async t => {
    const backbone = tiny(tinyArchitecture), adapter = await adapterOf(t, 'lora', backbone);
    const model = fromBinary(ModelProtoSchema, fs.readFileSync(await exported(t, adapter, backbone, { merge: true, input: 'float-nchw' })));
    assert.deepEqual(model.opsetImport.map(({ domain, version }) => [domain ?? '', version]), [['', 18n]]);
    assert.deepEqual(model.graph!.node.filter(({ domain }) => domain), []);
    const shape = (value: { type?: TypeProto | undefined }) => value.type!.tensorType!.shape!.dim.map(d => d.dimParam ?? Number(d.dimValue));
    assert.deepEqual([...model.graph!.input, ...model.graph!.output].map(v => [v.name, shape(v)]), [['images', ['batch', 3, 16, 16]], ['logits', ['batch', 3]]]);
    const said = Object.fromEntries(model.metadataProps.map(({ key, value }) => [key, value]));
    assert.deepEqual([said['mean'], said['std'], said['classes'], said['resize'], said['image_size'], said['method'], said['merged']],
      ['[0.4,0.5,0.6]', '[0.2,0.25,0.3]', '["a","b","c"]', 'stretch', '16', 'lora', 'true']);
    assert.ok(!model.graph!.initializer.some(({ name }) => name!.includes('lora')), 'a merged model has no adapter in it');
  });

  it('needs the backbone', async t => {
    const backbone = tiny(tinyArchitecture), adapter = await adapterOf(t, 'lora', backbone);
    await assert.rejects(exportOnnx({ adapter, out: os.tmpdir(), backbone: null }, { merge: true, input: 'float-nchw' }), /needs the backbone, tiny/);
    await assert.rejects(exportOnnx({ adapter, out: os.tmpdir(), backbone: { ...backbone, fingerprint: 'other' } }, { merge: false, input: 'float-nchw' }), /has other weights/);
  });
});

function isFoldable({ manifest: { method: { id, options } }, tensors }: Adapter, { architecture, tensors: base }: Backbone): boolean {
  try {
    foldAdapter({ method: methods[id]!, options, architecture, base, trained: tensors });
    return true;
  } catch {
    return false;
  }
}

function tiny(architecture: Architecture): Backbone {
  return { file: 'tiny.safetensors', architecture, tensors: tinyBackbone(architecture), fingerprint: 'f', normalization, warnings: [], projection: null };
}

async function adapterOf(t: TestContext, id: string, { architecture, tensors: base }: Backbone): Promise<Adapter> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-onnx-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const method = methods[id]!, options = parseMethodOptions(id, {});
  const declared = adapterTensors({ architecture, method, options, classes: 3 });
  await saveAdapter({
    folder, tensors: initialize(declared, { base, seed: 4, gradients: base }),
    manifest: { method: { id, version: method.version, options }, backbone: { name: 'tiny', fingerprint: 'f', architecture }, classes: ['a', 'b', 'c'], normalization, resize: 'stretch' },
  });
  return loadAdapter(folder);
}

async function exported(t: TestContext, adapter: Adapter, backbone: Backbone, options: Parameters<typeof exportOnnx>[1]): Promise<string> {
  const out = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-onnx-'));
  t.after(() => fs.rmSync(out, { recursive: true, force: true }));
  await exportOnnx({ adapter, out, backbone }, options);
  return path.join(out, 'model.onnx');
}

async function compare(file: string, { adapter, backbone, batch, input }: { adapter: Adapter; backbone: Backbone; batch: number; input: 'float-nchw' | 'uint8-nhwc' }): Promise<void> {
  const { architecture } = backbone, size = architecture.imageSize;
  const key = streamKey(1, 'pixels', batch);
  const pixels = Uint8Array.from({ length: batch * size * size * 3 }, (_, i) => 256 * uniform(key, i));
  const patches = patchify(pixels, { imageSize: size, patch: architecture.patch, batch, normalization });
  const expected = await evaluateAdapter(engines.cpu, adapter, backbone, patches);
  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(file, { logSeverityLevel: 3 });
  const feed = input === 'uint8-nhwc' ? new ort.Tensor('uint8', pixels, [batch, size, size, 3]) : new ort.Tensor('float32', planes(pixels, size), [batch, 3, size, size]);
  const { logits } = await session.run({ images: feed });
  await session.release();
  assert.deepEqual(logits!.dims, [batch, 3]);
  const difference = largestDifference(logits!.data as Float32Array, expected);
  assert.ok(difference <= 1e-5, `batch of ${batch}: ${difference}`);
}

/** [batch, size, size, 3] bytes to normalised [batch, 3, size, size]. */
function planes(pixels: Uint8Array, size: number): Float32Array {
  const out = new Float32Array(pixels.length);
  pixels.forEach((value, at) => {
    const channel = at % 3, place = Math.floor(at / 3) % size ** 2, image = Math.floor(at / (3 * size ** 2));
    out[(image * 3 + channel) * size ** 2 + place] = (value / 255 - normalization.mean[channel]!) / normalization.std[channel]!;
  });
  return out;
}
