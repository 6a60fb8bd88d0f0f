/** One backbone in every library's names: the same tensors, architecture and fingerprint come out. */
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Architecture } from '../../../src/common/trial';
import type { HostTensors } from '../../../src/engine/program';
import { dialects, mapNames } from '../../../src/interop/dialects/map-names';
import { writeSafetensors } from '../../../src/interop/safetensors';
import { fingerprintBackbone, loadBackbone, readArchitecture, readProjection } from '../../../src/vit/weights';
import { dialectCases, projection } from '../../fixtures/dialects';
import { tinyArchitecture, tinyBackbone } from '../../fixtures/tiny-vit';
import { npzOf } from '../../fixtures/zip';

const architectures: Record<'plain' | 'dinov2' | 'clip', Architecture> = {
  plain: tinyArchitecture,
  dinov2: { ...tinyArchitecture, layerScale: true },
  clip: { ...tinyArchitecture, preNorm: true, patchBias: false, layerNormEpsilon: 1e-5, activation: 'quick-gelu' },
};

let folder: string;
before(async () => { folder = await fs.mkdtemp(path.join(os.tmpdir(), 'peft-lab-dialects-')); });
after(() => fs.rm(folder, { recursive: true, force: true }));

/** Writes the tensors into a folder of their own, beside a config.json where one is given. */
async function write(tensors: HostTensors, { isNpz = false, config }: { isNpz?: boolean | undefined; config?: object } = {}): Promise<string> {
  const own = await fs.mkdtemp(path.join(folder, 'case-'));
  if (config) await fs.writeFile(path.join(own, 'config.json'), JSON.stringify(config));
  const file = path.join(own, isNpz ? 'vit.npz' : 'vit.safetensors');
  const floats = tensors as Record<string, { shape: readonly number[]; data: Float32Array }>;
  if (isNpz) await fs.writeFile(file, npzOf(floats, { isCompressed: true }));
  else await writeSafetensors(file, floats);
  return file;
}

describe('backbones by the names of', () => {
  for (const { title, id, kind, write: inDialect, isNpz } of dialectCases) {
    it(title, async () => {
      const architecture = architectures[kind];
      const base = tinyBackbone(architecture);
      const theirs = inDialect(base, architecture);
      const map = mapNames(new Map(Object.entries(theirs).map(([name, { shape }]) => [name, shape])));
      assert.equal(map?.dialect.id, id);
      const file = await write(theirs, { isNpz });
      const { heads, layerNormEpsilon, activation } = architecture;
      const loaded = await loadBackbone({ file, architecture: { heads, layerNormEpsilon, activation } });
      assert.deepEqual(loaded.architecture, architecture);
      for (const [name, { shape, data }] of Object.entries(base)) {
        assert.deepEqual(loaded.tensors[name]!.shape, shape, name);
        assert.deepEqual(loaded.tensors[name]!.data, data, name);
      }
      assert.equal(Object.keys(loaded.tensors).length, Object.keys(base).length);
      const plain = await loadBackbone({ file: await write(base), architecture: { heads, layerNormEpsilon, activation } });
      assert.equal(loaded.fingerprint, plain.fingerprint, 'the fingerprint is that of the weights, not of their names');
      assert.equal(await fingerprintBackbone(file), plain.fingerprint);
    });
  }

  it('says how wide CLIP\'s projection is, and reads it from wherever it lies', async () => {
    for (const { kind, title, write: inDialect } of dialectCases.filter(c => c.kind === 'clip')) {
      const architecture = architectures[kind];
      const file = await write(inDialect(tinyBackbone(architecture), architecture));
      const { projection: width } = await readArchitecture(file, { architecture: { heads: 2 } });
      const hasOne = !title.startsWith('Hugging Face CLIP\'s');
      assert.equal(width, hasOne ? 12 : null, title);
      if (hasOne) assert.deepEqual(await readProjection(file), projection(), title);
      else await assert.rejects(readProjection(file), /no projection into the space of text/);
    }
  });

  it('does not take the head of a fine-tuned CLIP tower for its projection', async () => {
    const base = tinyBackbone(architectures.clip);
    const file = await write({ ...base, 'head.weight': projection(), 'head.bias': { shape: [12], data: new Float32Array(12).fill(0.1) } });
    await assert.rejects(readProjection(file), /no projection/);
  });
});

describe('what names and shapes cannot say', () => {
  const facts = async (file: string) => {
    const { architecture: { heads, layerNormEpsilon, activation }, normalization, warnings } = await readArchitecture(file);
    return { heads, layerNormEpsilon, activation, mean: normalization.mean[0], warnings };
  };
  const named = (title: string) => {
    const found = dialectCases.find(c => c.title === title)!;
    return found.write(tinyBackbone(architectures[found.kind]), architectures[found.kind]);
  };

  it('comes from config.json and preprocessor_config.json of transformers', async () => {
    const file = await write(named('Hugging Face ViT'), { config: { model_type: 'vit', num_attention_heads: 4 } });
    await fs.writeFile(path.join(path.dirname(file), 'preprocessor_config.json'), JSON.stringify({ image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] }));
    assert.deepEqual(await facts(file), { heads: 4, layerNormEpsilon: 1e-12, activation: 'gelu', mean: 0.5, warnings: [] });
  });

  it('comes from the vision part of a CLIP model\'s config.json', async () => {
    const file = await write(named('Hugging Face CLIP'), { config: { model_type: 'clip', text_config: { num_attention_heads: 8 }, vision_config: { num_attention_heads: 2, layer_norm_eps: 1e-4 } } });
    const { warnings, ...rest } = await facts(file);
    assert.deepEqual(rest, { heads: 2, layerNormEpsilon: 1e-4, activation: 'quick-gelu', mean: 0.48145466 });
    assert.match(warnings.join(), /assumed: CLIP's mean and deviation/);
  });

  it('comes from open_clip_config.json', async () => {
    const file = await write(named('OpenAI CLIP'));
    await fs.writeFile(path.join(path.dirname(file), 'open_clip_config.json'), JSON.stringify({
      model_cfg: { embed_dim: 12, vision_cfg: { width: 16, head_width: 8, layers: 2 } }, preprocess_cfg: { mean: [0.4, 0.4, 0.4], std: [0.2, 0.2, 0.2] },
    }));
    assert.deepEqual(await facts(file), { heads: 2, layerNormEpsilon: 1e-5, activation: 'gelu', mean: 0.4, warnings: [] });
  });

  it('is in the shapes of Google\'s kernels', async () => {
    const file = await write(named('Google\'s npz'), { isNpz: true });
    assert.deepEqual(await facts(file), { heads: 2, layerNormEpsilon: 1e-6, activation: 'gelu', mean: 0.5, warnings: [] });
  });

  it('comes from the name of a timm CLIP model that has no preset', async () => {
    for (const [architecture, tag, activation] of [['vit_huge_patch14_clip_224', 'laion2b', 'gelu'], ['vit_base_patch16_clip_384', 'openai', 'quick-gelu'], ['vit_large_patch14_clip_quickgelu_378', 'dfn5b', 'quick-gelu']]) {
      const config = { architecture, pretrained_cfg: { tag }, model_args: { num_heads: 2 } };
      assert.equal((await facts(await write(named('timm CLIP'), { config }))).activation, activation, architecture);
    }
  });

  it('is 16 heads for CLIP towers wider than OpenAI\'s', () => {
    for (const id of ['timm', 'openai-clip', 'hf-clip']) {
      const headsOf = (width: number) => dialects.find(d => d.id === id)!.facts!({ ours: new Map([['cls_token', [1, 1, width]], ['norm_pre.weight', [width]]]), theirs: new Map() }).assumed!.heads;
      assert.deepEqual([768, 1024, 1280].map(headsOf), [12, 16, 16], id);
    }
  });

  it('is assumed, as OpenAI trained its towers, with a warning', async () => {
    const wide: Architecture = { ...architectures.clip, width: 64, heads: 1 };
    const openai = dialectCases.find(c => c.title === 'timm CLIP')!;
    const { warnings, ...rest } = await facts(await write({ ...openai.write(tinyBackbone(wide), wide), 'head.weight': { shape: [12, 64], data: new Float32Array(768) } }));
    assert.deepEqual(rest, { heads: 1, layerNormEpsilon: 1e-5, activation: 'quick-gelu', mean: 0.48145466 });
    assert.match(warnings.join(), /quick GELU/);
  });
});

describe('files that are not quite a plain ViT', () => {
  const plain = () => tinyBackbone(tinyArchitecture);
  const given = { architecture: { heads: 2 } };

  it('leaves a decoder out and says so', async () => {
    for (const title of ['MAE, with its decoder', 'Hugging Face ViT-MAE']) {
      const file = await write(dialectCases.find(c => c.title === title)!.write(plain(), tinyArchitecture));
      assert.match((await readArchitecture(file, given)).warnings[0]!, /2 tensors of a decoder/);
    }
  });

  it('puts a fresh LayerNorm where there is none, and takes fc_norm for it', async () => {
    const { 'norm.weight': weight, 'norm.bias': bias, ...rest } = plain();
    const without = await loadBackbone({ file: await write(rest), ...given });
    assert.deepEqual(without.tensors['norm.weight']!.data, new Float32Array(16).fill(1));
    assert.deepEqual(without.tensors['norm.bias']!.data, new Float32Array(16));
    assert.match(without.warnings[0]!, /no final LayerNorm/);
    const pooled = await loadBackbone({ file: await write({ ...rest, 'fc_norm.weight': weight!, 'fc_norm.bias': bias! }), ...given });
    assert.deepEqual(pooled.tensors['norm.weight']!.data, weight!.data);
    assert.match(pooled.warnings[0]!, /average pooling/);
  });

  const refused: { title: string; tensors: () => HostTensors; message: RegExp }[] = [
    { title: 'register tokens (timm)', tensors: () => ({ ...plain(), reg_token: one }), message: /has register tokens \(reg_token\)/ },
    { title: 'register tokens (Hugging Face)', tensors: () => ({ ...hf('Hugging Face DINOv2'), 'embeddings.register_tokens': one }), message: /has register tokens \(embeddings\.register_tokens\)/ },
    { title: 'SwiGLU', tensors: () => ({ ...plain(), 'blocks.0.mlp.w12.weight': one }), message: /SwiGLU/ },
    { title: 'a distillation token', tensors: () => ({ ...plain(), dist_token: one }), message: /distillation token/ },
    { title: 'a missing key projection', tensors: () => without(hf('Hugging Face ViT'), 'encoder.layer.1.attention.attention.key.bias'),
      message: /nearest are the names of Hugging Face ViT: missing encoder\.layer\.1\.attention\.attention\.key\.bias/ },
    { title: 'a missing layer, by the file\'s own names', tensors: () => without(hf('OpenAI CLIP'), 'visual.transformer.resblocks.0.mlp.c_fc.bias'),
      message: /missing visual\.transformer\.resblocks\.0\.mlp\.c_fc\.bias/ },
    { title: 'CLIP without a class token', tensors: () => without(hf('Hugging Face CLIP'), 'vision_model.embeddings.class_embedding'),
      message: /nearest are the names of Hugging Face CLIP: missing vision_model\.embeddings\.class_embedding/ },
    { title: 'a ResNet', tensors: () => ({ 'layer1.0.conv1.weight_g': one, 'stem.bias': one }), message: /none of its tensors has a name of a Vision Transformer \(it has layer1/ },
  ];
  for (const { title, tensors, message } of refused) {
    it(`refuses ${title}`, async () => assert.rejects(readArchitecture(await write(tensors()), given), message));
  }
});

const one = { shape: [1], data: new Float32Array(1) };

function hf(title: string): HostTensors {
  const { kind, write: inDialect } = dialectCases.find(c => c.title === title)!;
  return inDialect(tinyBackbone(architectures[kind]), architectures[kind]);
}

function without(tensors: HostTensors, name: string): HostTensors {
  if (!tensors[name]) throw new Error(`no ${name} to leave out`);
  return Object.fromEntries(Object.entries(tensors).filter(([key]) => key !== name));
}
