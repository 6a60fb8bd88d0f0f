import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, beforeEach, before, describe, it } from 'node:test';
import { UserError } from '../../../src/common/errors';
import type { Architecture } from '../../../src/common/trial';
import { type TensorToWrite, writeSafetensors } from '../../../src/interop/safetensors';
import { baseParameters } from '../../../src/vit/architecture';
import { loadBackbone, readArchitecture } from '../../../src/vit/weights';

const tiny: Architecture = {
  imageSize: 12, patch: 4, width: 64, depth: 3, heads: 1, hidden: 96, layerNormEpsilon: 1e-6, activation: 'gelu',
  preNorm: false, patchBias: true, layerScale: false, qkvBias: true,
};
const complete = { heads: '2', layerNormEpsilon: '1e-5', activation: 'quick-gelu', normalization: 'none' };

let folder: string;
let file: string;
before(async () => { folder = await fs.mkdtemp(path.join(os.tmpdir(), 'peft-lab-')); });
after(() => fs.rm(folder, { recursive: true, force: true }));
beforeEach(async () => {
  file = path.join(await fs.mkdtemp(path.join(folder, 'case-')), 'vit.safetensors');
});

describe('readArchitecture', () => {
  it('reads off the shapes what they say', async () => {
    for (const special of [{}, { preNorm: true, patchBias: false, layerNormEpsilon: 1e-5, activation: 'quick-gelu' as const }, { layerScale: true, qkvBias: false, depth: 1 }, { imageSize: 20, hidden: 64 }]) {
      const expected = { ...tiny, ...special };
      await writeSafetensors(file, tensorsOf(expected));
      assert.deepEqual((await readArchitecture(file)).architecture, expected);
    }
  });

  it('assumes heads = width / 64, 1e-6, GELU and ImageNet, and says so', async () => {
    await writeSafetensors(file, tensorsOf(tiny));
    const { architecture, normalization, warnings } = await readArchitecture(file);
    assert.deepEqual([architecture.heads, architecture.layerNormEpsilon, architecture.activation], [1, 1e-6, 'gelu']);
    assert.deepEqual(normalization.mean, [0.485, 0.456, 0.406]);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /1 heads \(width \/ 64\), LayerNorm epsilon 1e-6, exact GELU, ImageNet/);
  });

  it('prefers the study file to the metadata and the metadata to a config.json', async () => {
    await fs.writeFile(path.join(path.dirname(file), 'config.json'), JSON.stringify({ num_attention_heads: 4, layer_norm_eps: 1e-12, hidden_act: 'quick_gelu' }));
    await writeSafetensors(file, tensorsOf(tiny), { heads: '2', normalization: '{"mean":[0.1,0.2,0.3],"std":[1,1,1]}' });
    const { architecture, normalization, warnings } = await readArchitecture(file, { architecture: { layerNormEpsilon: 1e-3 } });
    assert.deepEqual([architecture.heads, architecture.layerNormEpsilon, architecture.activation], [2, 1e-3, 'quick-gelu']);
    assert.deepEqual(normalization.mean, [0.1, 0.2, 0.3]);
    assert.deepEqual(warnings, []);
  });

  it('understands timm\'s config.json', async () => {
    await writeSafetensors(file, tensorsOf({ ...tiny, width: 768 }));
    const config = path.join(path.dirname(file), 'config.json');
    const read = async (json: unknown) => {
      await fs.writeFile(config, JSON.stringify(json));
      return readArchitecture(file);
    };
    const clip = await read({ architecture: 'vit_base_patch16_clip_224', pretrained_cfg: { tag: 'openai', mean: [0.5, 0.4, 0.3], std: [0.2, 0.2, 0.2] } });
    assert.deepEqual([clip.architecture.heads, clip.architecture.layerNormEpsilon, clip.architecture.activation], [12, 1e-5, 'quick-gelu']);
    assert.deepEqual(clip.normalization, { mean: [0.5, 0.4, 0.3], std: [0.2, 0.2, 0.2] });
    assert.deepEqual(clip.warnings, []);
    assert.equal((await read({ architecture: 'vit_base_patch16_clip_224', pretrained_cfg: { tag: 'laion2b' } })).architecture.activation, 'gelu');
    assert.equal((await read({ architecture: 'vit_base_patch16_clip_quickgelu_224.openai' })).architecture.activation, 'quick-gelu');
    assert.match((await read({ architecture: 'somebodys_vit' })).warnings[0]!, /12 heads/);
  });

  it('takes another image size, if it is made of whole patches', async () => {
    await writeSafetensors(file, tensorsOf(tiny), complete);
    assert.equal((await readArchitecture(file, { imageSize: 32 })).architecture.imageSize, 32);
    await assert.rejects(readArchitecture(file, { imageSize: 30 }), /30 pixels are not made of whole patches of 4/);
  });

  const refused: { name: string; change: (tensors: Record<string, TensorToWrite>) => void; metadata?: Record<string, string>; message: RegExp }[] = [
    { name: 'foreign names', change: t => { for (const key of Object.keys(t)) { t[`my_${key}`] = t[key]!; delete t[key]; } },
      message: /none of its tensors has a name of a Vision Transformer \(it has my_\S+, \S+, \S+\)/ },
    { name: 'missing tensors', change: t => { delete t['blocks.1.norm1.bias']; delete t['norm.weight']; }, message: /missing blocks\.1\.norm1\.bias, norm\.weight$/m },
    { name: 'a missing block', change: t => { for (const key of Object.keys(t)) if (key.startsWith('blocks.1.')) delete t[key]; },
      message: /missing blocks\.1\.norm1\.weight, .*; unexpected blocks\.2\./ },
    { name: 'an extra tensor', change: t => { t['reg_token'] = zeros([1, 4, 64]); }, message: /register tokens \(reg_token\)/ },
    { name: 'a wrong shape', change: t => { t['blocks.2.mlp.fc2.weight'] = zeros([64, 90]); },
      message: /of wrong shape blocks\.2\.mlp\.fc2\.weight \(needs \[64, 96\], has \[64, 90\]\)/ },
    { name: 'no square grid', change: t => { t['pos_embed'] = zeros([1, 9, 64]); }, message: /9 positions.*\n.*one class token|pos_embed.*9 positions/ },
    { name: 'pos_embed of two axes', change: t => { t['pos_embed'] = zeros([10, 64]); }, message: /pos_embed \(of 3 axes, here \[10, 64\]\)/ },
    { name: 'heads that do not divide', change: () => undefined, metadata: { ...complete, heads: '5' }, message: /5 heads do not divide the width 64/ },
    { name: 'nonsense in the metadata', change: () => undefined, metadata: { ...complete, heads: 'many' }, message: /metadata.*heads is not valid/ },
    { name: 'an unknown normalisation', change: () => undefined, metadata: { ...complete, normalization: 'mine' }, message: /normalization/ },
  ];
  for (const { name, change, metadata = complete, message } of refused) {
    it(`refuses ${name}`, async () => {
      const tensors = tensorsOf(tiny);
      change(tensors);
      await writeSafetensors(file, tensors, metadata);
      const error = await readArchitecture(file).then(() => assert.fail('was read'), (e: unknown) => e);
      assert.ok(error instanceof UserError, String(error));
      assert.match(error.message, message);
      assert.ok(error.where!.includes(file) && error.remedy);
    });
  }

  it('refuses an unknown activation and a damaged config.json', async () => {
    await writeSafetensors(file, tensorsOf(tiny));
    const config = path.join(path.dirname(file), 'config.json');
    await fs.writeFile(config, '{"hidden_act": "relu"}');
    await assert.rejects(readArchitecture(file), /config\.json \(hidden_act\): the activation "relu" is not supported/);
    await fs.writeFile(config, '{"hidden_act": ');
    await assert.rejects(readArchitecture(file), /config\.json: this is not JSON/);
  });

  it('cannot guess the heads of a width that is no multiple of 64', async () => {
    await writeSafetensors(file, tensorsOf({ ...tiny, width: 48 }));
    await assert.rejects(readArchitecture(file), /no multiple of 64.*\n.*backbone\.architecture\.heads/);
  });
});

describe('loadBackbone', () => {
  it('gives float32 tensors without the head, and a fingerprint of what they hold', async () => {
    const tensors = tensorsOf(tiny, 'F16');
    tensors['norm.weight'] = { shape: [64], data: new Float32Array(64).fill(1.5), dtype: 'BF16' };
    await writeSafetensors(file, { ...tensors, 'head.weight': zeros([10, 64]), 'head.bias': zeros([10]) }, complete);
    const backbone = await loadBackbone({ file });
    assert.deepEqual(Object.keys(backbone.tensors), baseParameters(backbone.architecture).map(({ name }) => name));
    assert.deepEqual(backbone.tensors['norm.weight']!.data, new Float32Array(64).fill(1.5));
    const widened = { ...tensorsOf(tiny), 'norm.weight': { shape: [64], data: new Float32Array(64).fill(1.5) } };
    await writeSafetensors(file, widened, complete);
    assert.equal((await loadBackbone({ file, imageSize: 24 })).fingerprint, backbone.fingerprint, 'dtype, head and image size do not count');
    await writeSafetensors(file, tensorsOf(tiny), complete);
    assert.notEqual((await loadBackbone({ file })).fingerprint, backbone.fingerprint, 'one tensor does');
  });

  it('resamples positions to the image size asked for', async () => {
    await writeSafetensors(file, tensorsOf(tiny), complete);
    const { tensors, architecture } = await loadBackbone({ file, imageSize: 24 });
    assert.deepEqual(tensors['pos_embed']!.shape, [1, 37, 64]);
    assert.equal(baseParameters(architecture)[1]!.shape[1], 37);
  });

  it('names a tensor of a dtype that holds no real numbers', async () => {
    await writeSafetensors(file, { ...tensorsOf(tiny), 'norm.bias': { shape: [64], data: new Int32Array(64) } }, complete);
    await assert.rejects(loadBackbone({ file }), /tensor 'norm\.bias'.*these are I32/);
  });

  it('reads DeiT-Tiny', async t => {
    const deit = path.resolve(process.cwd(), '../shared/weights/deit_tiny_patch16_224.safetensors');
    if (!(await fs.stat(deit).catch(() => null))) return t.skip('../shared is not here');
    const { architecture, tensors } = await loadBackbone({ file: deit });
    assert.deepEqual(architecture, {
      imageSize: 224, patch: 16, width: 192, depth: 12, heads: 3, hidden: 768, layerNormEpsilon: 1e-6, activation: 'gelu',
      preNorm: false, patchBias: true, layerScale: false, qkvBias: true,
    });
    assert.equal(Object.values(tensors).reduce((sum, { data }) => sum + data.length, 0), 5_524_416);
  });
});

function tensorsOf(architecture: Architecture, dtype: 'F32' | 'F16' = 'F32'): Record<string, TensorToWrite> {
  return Object.fromEntries(baseParameters(architecture).map(({ name, shape }) => [name, { ...zeros(shape), dtype }]));
}

function zeros(shape: number[]): TensorToWrite {
  return { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
}
