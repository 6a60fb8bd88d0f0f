/** The study's flags and names for every method that it has; logits of its own code are compared in golden.test.ts. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { channelNormalization } from '../../../src/common/normalization';
import { engines } from '../../../src/engine/engines';
import type { HostTensors } from '../../../src/engine/program';
import { exportStudy } from '../../../src/exchange/export';
import { importAdapter } from '../../../src/exchange/import';
import { writeSafetensors } from '../../../src/interop/safetensors';
import { studyMethods } from '../../../src/interop/study-folder';
import { loadAdapter, saveAdapter, type Adapter } from '../../../src/peft/adapter';
import { initialize } from '../../../src/peft/initialize';
import { findMethod, methods, parseMethodOptions } from '../../../src/peft/registry';
import { adapterTensors } from '../../../src/peft/trainable';
import type { Backbone } from '../../../src/vit/weights';
import { tinyArchitecture, tinyBackbone, tinyBatch } from '../../fixtures/tiny-vit';
import { evaluateAdapter } from './fixtures';

const architecture = { ...tinyArchitecture, hidden: 4 * tinyArchitecture.width };
const backbone: Backbone & { name: string } = {
  name: 'tiny', file: 'tiny.safetensors', architecture, tensors: tinyBackbone(architecture), fingerprint: 'f', warnings: [], projection: null,
  normalization: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
};
const certify = async () => ({ engine: engines.cpu, threads: 1 });

/** Beside the defaults. */
const forms: [id: string, options: Record<string, unknown>][] = [
  ['adaptformer', { bottleneck: 4, scale: 0.2 }], ['adaptformer', { learnableScale: true }], ['pfeiffer', { bottleneck: 4, variant: 'original' }],
  ['adapter', { branches: ['attention', 'mlp'], position: 'parallel', input: 'normalized', dropPath: 'twice', initializer: 'reset' }],
  ['adapter', { branches: ['attention'], dropPath: 'twice', initializer: 'reset' }],
  ['convpass', { bottleneck: 4, scale: 0.1 }], ['repadapter', { bottleneck: 4, groups: 1, scale: 0.5 }], ['fact-tk', { rank: 4, scale: 0.1 }],
  ['lora', { rank: 4, alpha: 4 }], ['lora', { rank: 4, alpha: 2, rankStabilized: true }], ['vpt-deep', { prompts: 3, lastBlocks: 1 }], ['bitfit+ln', { bitfit: {}, ln: {} }], ['lora+bitfit', { lora: { rank: 2 }, bitfit: {} }],
];

describe('the study\'s flags and names', () => {
  for (const [id, options] of [...studyMethods.map(id => [id, {}] as const), ...forms]) {
    it(`${id} ${JSON.stringify(options)}: comes back as it went`, async t => {
      const adapter = await adapterOf(t, id, options), out = temporary(t);
      await exportStudy({ adapter, out, backbone: null });
      const config = JSON.parse(fs.readFileSync(path.join(out, 'config.json'), 'utf8')) as { trainable_with_head: number; study_params: Record<string, unknown> };
      assert.equal(config.trainable_with_head, Object.values(adapter.tensors).reduce((sum, { data }) => sum + data.length, 0));
      const { adapter: again, source } = await importAdapter({ folder: out, out: temporary(t), backbone, certify });
      assert.equal(source, 'the study');
      assert.deepEqual(again.tensors, adapter.tensors);
      // The free form's own default is what the study calls Pfeiffer's.
      const expected = id === 'adapter' && !('branches' in options) ? 'pfeiffer' : id;
      assert.equal(again.manifest.method.id.split('+').sort().join(), expected.split('+').sort().join());
      const patches = tinyBatch(3, 3, architecture).patches.data;
      assert.deepEqual(await evaluateAdapter(engines.cpu, again, backbone, patches), await evaluateAdapter(engines.cpu, adapter, backbone, patches));
    });
  }

  const beyond: [id: string, options: Record<string, unknown>, message: RegExp][] = [
    ['vpt-shallow', { variant: 'original' }, /drops the prompts behind the first block/],
    ['lora', { variant: 'original' }, /shares one A among query, key and value/],
    ['lora', { targets: ['q', 'v'] }, /adapts query, key and value of all blocks/],
    ['lora', { alpha: 16 }, /no factor alpha/],
    ['lora', { rank: 4, alpha: 4, rankStabilized: true }, /no factor alpha \/ sqrt\(rank\)/],
    ['houlsby', { variant: 'original' }, /have ReLU/],
    ['adapter', { position: 'before' }, /leaves out the skip connection/],
    ['linear', { pool: 'patches' }, /reads the class token/],
    ['vqt', {}, /computes something else/],
    ['dora', {}, /has no dora/],
    ['lora+ssf', { lora: {}, ssf: {} }, /act in an order of its own/],
  ];
  for (const [id, options, message] of beyond) {
    it(`refuses to export ${id} ${JSON.stringify(options)}, with the reason`, async t => {
      await assert.rejects(exportStudy({ adapter: await adapterOf(t, id, options), out: temporary(t), backbone: null }), message);
    });
  }

  it('has an answer for every method', async t => {
    for (const id of Object.keys(methods).filter(known => !studyMethods.includes(known))) {
      await assert.rejects(exportStudy({ adapter: await adapterOf(t, id, {}), out: temporary(t), backbone: null }), /the study's/);
    }
  });

  const wrong: [what: string, params: Record<string, unknown>, message: RegExp][] = [
    ['VQT', { vqt_num: 5 }, /its queries do not reach the classifier/],
    ['shallow prompts in the last blocks', { vpt_mode: 'shallow', vpt_num: 5, vpt_layer: 3 }, /"vpt_layer" is set/],
    ['selective tuning', { block_index: [9] }, /"block_index" is set/],
    ['a module in one branch', { ft_mlp_module: 'convpass' }, /convpass is in the MLP branch alone/],
    ['Convpass on the stream before the LayerNorm', { ft_attn_module: 'convpass', ft_mlp_module: 'convpass', ft_attn_ln: 'after' }, /"ft_mlp_ln" is "before", and convpass is only known with "after"/],
    ['Convpass behind a branch', { ft_attn_module: 'convpass', ft_mlp_module: 'convpass', ft_attn_mode: 'sequential_after', ft_attn_ln: 'after', ft_mlp_ln: 'after' }, /"ft_attn_mode" is "sequential_after"/],
    ['RepAdapter beside a branch', { ft_attn_module: 'repadapter', ft_mlp_module: 'repadapter', ft_attn_mode: 'sequential_before' }, /"ft_mlp_mode" is "parallel", and repadapter is only known with "sequential_before"/],
    ['an unknown place', { ft_mlp_module: 'adapter', ft_mlp_mode: 'beside' }, /study_params\.ft_mlp_mode/],
    ['an unknown module', { ft_attn_module: 'x', ft_mlp_module: 'x' }, /the module "x" is unknown/],
    ['methods whose order matters', { ssf: true, lora_bottleneck: 8 }, /ssf and lora act together/],
    ['a scaled adapter', { lora_bottleneck: 8, merge_factor: 0.5 }, /scaled for WiSE/],
    ['a flag of the wrong type', { ssf: 'yes' }, /study_params\.ssf/],
    ['a number that is none', { lora_bottleneck: 8, fact_type: 'tt', fact_dim: 'x' }, /"x" stands where a number is needed/],
    ['other tensors', { lora_bottleneck: 16 }, /tensor 'blocks\.0\.attn\.lora\.lora_a\.weight' is \[8, 16\]; \[16, 16\] is needed/],
    ['tensors of no method', { bitfit: true }, /tensor '[\w.]+' is missing/],
  ];
  for (const [what, params, message] of wrong) {
    it(`refuses to import ${what}`, async t => {
      const folder = await studyFolder(t, params, (await adapterOf(t, 'lora', {})).tensors);
      await assert.rejects(importAdapter({ folder, out: temporary(t), backbone, certify }), message);
    });
  }

  const absent: [id: string, params: Record<string, unknown>, options: Record<string, unknown>][] = [
    ['adaptformer', { ft_mlp_module: 'adapter', adapter_bottleneck: null }, { bottleneck: 64, scale: 0.1 }],
    ['vpt-deep', { vpt_mode: 'deep' }, { prompts: 10 }],
    ['fact-tk', { fact_type: 'tk' }, { rank: 8, scale: 1 }],
  ];
  for (const [id, params, options] of absent) {
    it(`takes the study's defaults where flags of ${id} are not given`, async t => {
      const folder = await studyFolder(t, params, (await adapterOf(t, id, options)).tensors);
      const { manifest: { method } } = (await importAdapter({ folder, out: temporary(t), backbone, certify })).adapter;
      assert.equal(method.id, id);
      assert.deepEqual(Object.fromEntries(Object.keys(options).map(key => [key, method.options[key]])), options);
    });
  }

  it('keeps how images are prepared, and says where the study\'s code has no equal', async t => {
    const adapter = await adapterOf(t, 'lora', {}), out = temporary(t);
    const normalization = channelNormalization('imagenet');
    const other: Adapter = { ...adapter, manifest: { ...adapter.manifest, normalization, resize: 'crop' } };
    const { remarks } = await exportStudy({ adapter: other, out, backbone: null });
    assert.match(remarks.join(), /these images need mean \[0\.485.*crop them to the centre/);
    const { manifest } = (await importAdapter({ folder: out, out: temporary(t), backbone, certify })).adapter;
    assert.deepEqual([manifest.normalization, manifest.resize], [normalization, 'crop']);
    assert.deepEqual((await exportStudy({ adapter, out: temporary(t), backbone: null })).remarks, []);
  });

  it('is exported with the shape of the backbone at hand, not the guessed one', async t => {
    const adapter = await adapterOf(t, 'lora', {}), out = temporary(t);
    const guessed: Adapter = { ...adapter, manifest: { ...adapter.manifest, backbone: { name: 'unknown', fingerprint: null, architecture: { ...architecture, imageSize: 224, patch: 16 } } } };
    await exportStudy({ adapter: guessed, out, backbone });
    const { study_params: params } = JSON.parse(fs.readFileSync(path.join(out, 'config.json'), 'utf8')) as { study_params: Record<string, unknown> };
    assert.deepEqual([params['crop_size'], params['patch_size']], [architecture.imageSize, architecture.patch]);
  });

  it('leaves out frozen tensors and aliases, and names strangers and pickles', async t => {
    const adapter = await adapterOf(t, 'fact-tt', {});
    const aliases = Object.fromEntries(Object.entries(adapter.tensors).map(([name, tensor]) => [name.replace('blocks.0.attn.fact', 'blocks.1.mlp.fact'), tensor]));
    const whole = await studyFolder(t, { fact_type: 'tt', fact_dim: 8 }, { ...backbone.tensors, ...adapter.tensors, ...aliases });
    assert.deepEqual((await importAdapter({ folder: whole, out: temporary(t), backbone, certify })).adapter.tensors, adapter.tensors);
    const strange = await studyFolder(t, { fact_type: 'tt', fact_dim: 8 }, { ...adapter.tensors, 'blocks.0.other': { shape: [1], data: Float32Array.of(1) } });
    await assert.rejects(importAdapter({ folder: strange, out: temporary(t), backbone, certify }), /'blocks\.0\.other' belongs to no method/);
    fs.renameSync(path.join(strange, 'init.safetensors'), path.join(strange, 'model.pt'));
    await assert.rejects(importAdapter({ folder: strange, out: temporary(t), backbone, certify }), /no safetensors file[^]*model\.pt is a pickle/);
    await assert.rejects(importAdapter({ folder: temporary(t), out: temporary(t), backbone, certify }), /neither an adapter_config\.json/);
  });
});

async function studyFolder(t: TestContext, params: Record<string, unknown>, tensors: HostTensors): Promise<string> {
  const folder = temporary(t);
  fs.writeFileSync(path.join(folder, 'config.json'), JSON.stringify({ study_params: params }));
  await writeSafetensors(path.join(folder, 'init.safetensors'), tensors);
  return folder;
}

async function adapterOf(t: TestContext, id: string, options: Record<string, unknown>): Promise<Adapter> {
  const folder = temporary(t), method = findMethod(id), parsed = parseMethodOptions(id, options);
  await saveAdapter({
    folder, tensors: initialize(adapterTensors({ architecture, method, options: parsed, classes: 3 }), { base: backbone.tensors, seed: 2, gradients: backbone.tensors }),
    manifest: {
      method: { id, version: method.version, options: parsed }, backbone: { name: 'tiny', fingerprint: 'f', architecture }, classes: ['a', 'b', 'c'],
      normalization: backbone.normalization, resize: 'stretch',
    },
  });
  return loadAdapter(folder);
}

function temporary(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-study-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}
