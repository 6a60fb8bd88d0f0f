/**
 * Adapters between Hugging Face's PEFT and PEFT Lab: what PEFT wrote (test/fixtures/peft, made by tools/peft-goldens.py) is
 * imported, and what is exported is read again, by PEFT itself where a Python with it is at hand (PEFT_LAB_PYTHON).
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { patchesOfImages } from './fixtures';
import { engines } from '../../../src/engine/engines';
import { exportMerged, exportPeft } from '../../../src/exchange/export';
import { guessArchitecture } from '../../../src/exchange/guess-architecture';
import { importAdapter } from '../../../src/exchange/import';
import { readFloatTensors } from '../../../src/interop/float-tensors';
import { writeSafetensors } from '../../../src/interop/safetensors';
import { initialize } from '../../../src/peft/initialize';
import { methods, findMethod, parseMethodOptions } from '../../../src/peft/registry';
import { adapterTensors } from '../../../src/peft/trainable';
import { saveAdapter, loadAdapter, type Adapter } from '../../../src/peft/adapter';
import { peftKinds } from '../../../src/interop/peft-methods';
import { normals, streamKey } from '../../../src/common/random';
import { evaluateAdapter, evaluateMerged, largestDifference, openFile } from './fixtures';

const fixtures = path.resolve('test/fixtures/peft');
const cases = fs.readdirSync(fixtures, { withFileTypes: true }).filter(entry => entry.isDirectory()).map(({ name }) => name);
const engine = engines.cpu;
const certify = async () => ({ engine, threads: 1 });

describe('adapters that PEFT wrote', () => {
  for (const name of cases) {
    it(`${name}: has PEFT's logits, here and after a journey through every dialect`, async t => {
      const { out, backbone, patches, adapter } = await imported(t, name);
      const expected = (await readFloatTensors(path.join(fixtures, name, 'expected.safetensors')))['logits']!.data;
      const difference = largestDifference(await evaluateAdapter(engine, adapter, backbone, patches), expected);
      t.diagnostic(`logits off by ${difference.toExponential(1)} of ${Math.max(...expected.map(Math.abs)).toFixed(1)}`);
      assert.ok(difference <= 1e-5, String(difference));
      for (const dialect of ['timm', 'hf', 'hf4'] as const) {
        const folder = path.join(out, dialect);
        await exportPeft({ adapter, out: folder, backbone }, dialect);
        const again = await importAdapter({ folder, out: path.join(out, `${dialect}-again`), backbone, certify });
        const logits = await evaluateAdapter(engine, again.adapter, backbone, patches);
        assert.ok(largestDifference(logits, expected) <= 1e-5, `${dialect}: ${largestDifference(logits, expected)}`);
      }
    });
  }

  for (const name of cases.filter(c => !/patterns|blocks|one-block/.test(c))) {
    it(`${name}: is written as PEFT wrote it`, async t => {
      const { out, adapter, backbone } = await imported(t, name);
      await exportPeft({ adapter, out: path.join(out, 'peft'), backbone }, name.startsWith('timm') ? 'timm' : name.startsWith('hf4') ? 'hf4' : 'hf');
      const [own, theirs] = await Promise.all([path.join(out, 'peft'), path.join(fixtures, name)].map(f => readFloatTensors(path.join(f, 'adapter_model.safetensors'))));
      assert.deepEqual(own, theirs);
    });
  }

  it('imported without its backbone, is exported for the backbone at hand and not for the guessed one', async t => {
    const out = temporary(t), { backbone, patches } = await tiny();
    const { adapter } = await importAdapter({ folder: path.join(fixtures, 'timm-lora'), out: path.join(out, 'adapter'), backbone: null, certify });
    assert.notEqual(adapter.manifest.backbone.architecture.heads, backbone.architecture.heads);
    const expected = (await readFloatTensors(path.join(fixtures, 'timm-lora', 'expected.safetensors')))['logits']!.data;
    for (const dialect of ['timm', 'hf'] as const) {
      await exportMerged({ adapter, out: path.join(out, dialect), backbone }, dialect);
      assert.ok(largestDifference(await evaluateMerged(engine, path.join(out, dialect), patches), expected) <= 1e-5, dialect);
    }
    await exportPeft({ adapter, out: path.join(out, 'peft'), backbone }, 'timm');
    assert.match(fs.readFileSync(path.join(out, 'peft', 'README.md'), 'utf8'), new RegExp(`${backbone.architecture.heads} heads.*images of ${backbone.architecture.imageSize}`));
  });

  it('is read by PEFT with the same logits, in both dialects, merged too', async t => {
    const python = pythonWith(t, 'peft, timm, transformers, safetensors, torch');
    if (!python) return;
    const jobs: Job[] = [];
    const out = temporary(t);
    for (const [name, { adapter, backbone, patches }] of await allExportable(out)) {
      const logits = path.join(out, name, 'logits.safetensors');
      await writeSafetensors(logits, { logits: { shape: [4, 3], data: await evaluateAdapter(engine, adapter, backbone, patches) } });
      for (const dialect of ['timm', 'hf'] as const) {
        const folder = path.join(out, name, dialect);
        await exportPeft({ adapter, out: folder, backbone }, dialect);
        jobs.push({ name: `${name} in ${dialect}`, kind: 'peft', dialect, folder, logits });
        await exportMerged({ adapter, out: path.join(folder, 'merged'), backbone }, dialect);
        assert.ok(largestDifference(await evaluateMerged(engine, path.join(folder, 'merged'), patches), (await readFloatTensors(logits))['logits']!.data) <= 1e-5);
        jobs.push({ name: `${name} merged for ${dialect}`, kind: 'merged', dialect, folder: path.join(folder, 'merged'), logits });
      }
    }
    const differences = runPython(python, out, jobs);
    for (const { name } of jobs) assert.ok(differences[name]! <= 1e-5, `${name}: ${differences[name]}`);
    t.diagnostic(`${jobs.length} exports, largest difference ${Math.max(...Object.values(differences)).toExponential(1)}`);
  });
});

describe('what PEFT cannot hold, or PEFT Lab', () => {
  it('is what the methods\' pages say', () => {
    const said = Object.entries(methods).filter(([, { page }]) => page.huggingFace !== undefined).map(([id]) => id);
    assert.deepEqual(said.sort(), Object.keys(peftKinds).sort());
  });

  for (const id of Object.keys(methods).filter(known => !(known in peftKinds))) {
    it(`${id} is refused with the reason`, async t => {
      const { backbone } = await tiny();
      const adapter = await trainedAdapter(id, {}, path.join(temporary(t), id), backbone);
      await assert.rejects(exportPeft({ adapter, out: path.join(temporary(t), 'x'), backbone }, 'timm'), /PEFT|classifier alone|all weights/);
    });
  }

  const refusals: [what: string, change: (config: Record<string, unknown>) => void, message: RegExp][] = [
    ['another kind', c => { c['peft_type'] = 'OFT'; }, /no method for adapters of the type OFT/],
    ['a layer that is repeated', c => { c['layer_replication'] = [[0, 1]]; }, /"layer_replication" is set/],
    ['an initialiser that changes the backbone', c => { c['init_lora_weights'] = 'pissa_niter_4'; }, /belongs to a backbone whose weights that initialiser changed/],
    ['a rank that is no number', c => { c['r'] = 'eight'; }, /r is not as PEFT writes it/],
    ['an alpha for names that only Python can read', c => { c['alpha_pattern'] = { '(?P<layer>qkv)': 4 }; }, /adapter_config\.json \("alpha_pattern": "\(\?P<layer>qkv\)"\): this regular expression[^]*plain layer names/],
    ['input-scaled layers that only Python can read', c => { c['feedforward_modules'] = '(?s:.*)\\Z(?P<x>)'; }, /"feedforward_modules": .*this regular expression/],
  ];
  for (const [what, change, message] of refusals) {
    it(`${what} is refused`, async t => {
      const folder = copy(t, 'timm-lora');
      const file = path.join(folder, 'adapter_config.json');
      const config = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
      change(config);
      fs.writeFileSync(file, JSON.stringify(config));
      await assert.rejects(importAdapter({ folder, out: path.join(folder, 'out'), backbone: null, certify }), message);
    });
  }

  it('tensors of layers that no ViT has, trained biases, a missing classifier and pickles are refused', async t => {
    const backbone = (await tiny()).backbone;
    const rewritten = async (change: (tensors: Awaited<ReturnType<typeof readFloatTensors>>) => void) => {
      const folder = copy(t, 'timm-lora'), file = path.join(folder, 'adapter_model.safetensors');
      const tensors = await readFloatTensors(file);
      change(tensors);
      await writeSafetensors(file, tensors);
      return importAdapter({ folder, out: path.join(folder, 'out'), backbone, certify });
    };
    const one = { shape: [1], data: Float32Array.of(1) };
    await assert.rejects(rewritten(x => { x['base_model.model.layer4.conv1.lora_A.weight'] = one; }), /no layer of a plain ViT/);
    await assert.rejects(rewritten(x => { x['base_model.model.blocks.0.attn.qkv.base_layer.bias'] = one; }), /biases were trained with it/);
    await assert.rejects(rewritten(x => { x['base_model.model.norm.weight'] = one; }), /cannot tell what this tensor does/);
    await assert.rejects(rewritten(x => { delete x['base_model.model.head.weight']; }), /no classifier in it/);
    const headless = copy(t, 'timm-lora'), file = path.join(headless, 'adapter_model.safetensors');
    await writeSafetensors(file, Object.fromEntries(Object.entries(await readFloatTensors(file)).filter(([name]) => !name.includes('.head.'))));
    await assert.rejects(importAdapter({ folder: headless, out: path.join(headless, 'out'), backbone: null, certify }), /no classifier in it/);
    await assert.rejects(rewritten(x => { delete x['base_model.model.blocks.1.attn.qkv.lora_B.weight']; }), /lora_B is missing/);
    await assert.rejects(rewritten(x => { x['base_model.model.blocks.7.attn.qkv.lora_A.weight'] = x['base_model.model.blocks.0.attn.qkv.lora_A.weight']!; x['base_model.model.blocks.7.attn.qkv.lora_B.weight'] = x['base_model.model.blocks.0.attn.qkv.lora_B.weight']!; }), /adapts block 7, and the backbone has 2/);
    const pickled = copy(t, 'timm-lora');
    fs.renameSync(path.join(pickled, 'adapter_model.safetensors'), path.join(pickled, 'adapter_model.bin'));
    await assert.rejects(importAdapter({ folder: pickled, out: path.join(pickled, 'out'), backbone, certify }), /a pickle, which can run any program[^]*weights_only=True/);
  });

  it('factors that are all 1 keep the layers and sides that they stand for', async t => {
    const folder = copy(t, 'timm-ia3'), file = path.join(folder, 'adapter_model.safetensors');
    const before = await importAdapter({ folder, out: path.join(folder, 'before'), backbone: (await tiny()).backbone, certify });
    const tensors = await readFloatTensors(file);
    for (const [name, { data }] of Object.entries(tensors)) if (name.includes('ia3_l')) data.fill(1);
    await writeSafetensors(file, tensors);
    const { adapter } = await importAdapter({ folder, out: path.join(folder, 'out'), backbone: (await tiny()).backbone, certify });
    const { targets, feedforward } = adapter.manifest.method.options as { targets: string[]; feedforward: string[] };
    assert.deepEqual(feedforward, before.adapter.manifest.method.options['feedforward']);
    assert.ok((before.adapter.manifest.method.options['targets'] as string[]).every(target => targets.includes(target)));
  });

  it('the hidden width is guessed from factors of fc2\'s input, not of its output', () => {
    const hiddenFor = (shape: number[]) => guessArchitecture({ shapes: { 'head.weight': [3, 16], 'blocks.0.mlp.fc2.ia3_l': shape }, imageSize: null, patch: null }, []).hidden;
    assert.deepEqual([hiddenFor([1, 48]), hiddenFor([16, 1])], [48, 64]);
  });

  it('a LayerNorm that was left alone needs the backbone', async t => {
    const folder = copy(t, 'timm-ln-blocks');
    await assert.rejects(importAdapter({ folder, out: path.join(folder, 'out'), backbone: null, certify }), /it leaves norm as the backbone has it[^]*--backbone/);
  });

  it('transformers\' ViT cannot hold a backbone with LayerScale', async t => {
    const { backbone } = await tiny();
    const adapter = await trainedAdapter('lora', {}, path.join(temporary(t), 'a'), backbone);
    const scaled: Adapter = { ...adapter, manifest: { ...adapter.manifest, backbone: { ...adapter.manifest.backbone, architecture: { ...backbone.architecture, layerScale: true } } } };
    await assert.rejects(exportPeft({ adapter: scaled, out: path.join(temporary(t), 'x'), backbone: null }, 'hf'), /the backbone has LayerScale/);
  });
});

interface Job { name: string; kind: 'peft' | 'merged'; dialect: 'timm' | 'hf'; folder: string; logits: string }

/** Every method that PEFT holds, in forms that the fixtures do not have. */
async function allExportable(out: string): Promise<[string, { adapter: Adapter } & Awaited<ReturnType<typeof tiny>>][]> {
  const forms: [name: string, id: string, options: Record<string, unknown>][] = [
    ['lora-study', 'lora', { rank: 2 }],
    ['lora-original', 'lora', { rank: 2, alpha: 3, variant: 'original' }],
    ['lora-two-thirds', 'lora', { rank: 2, alpha: 3, variant: 'original', targets: ['q', 'v', 'proj'], rankStabilized: true }],
    ['lora-fused-third', 'lora', { rank: 2, targets: ['k'] }],
    ['lora-everywhere', 'lora', { rank: 3, targets: ['q', 'k', 'v', 'proj', 'fc1', 'fc2', 'patch_embed'] }],
    ['lora-one-block', 'lora', { rank: 2, targets: ['q', 'fc2'], blocks: [1] }],
    ['dora', 'dora', { rank: 2 }],
    ['dora-third', 'dora', { rank: 2, alpha: 4, targets: ['v', 'proj', 'fc2'], blocks: [0] }],
    ['dora-patches', 'dora', { rank: 2, targets: ['patch_embed', 'q'], sharing: 'fused' }],
    ['ia3', 'ia3', {}],
    ['ia3-everywhere', 'ia3', { targets: ['q', 'k', 'v', 'proj', 'fc1', 'fc2'], feedforward: ['proj', 'fc1'] }],
    ['ln', 'ln', {}],
  ];
  const base = await tiny();
  return Promise.all(forms.map(async ([name, id, options]) => [name, { ...base, adapter: await trainedAdapter(id, options, path.join(out, name, 'adapter'), base.backbone) }] as const)) as Promise<[string, { adapter: Adapter } & typeof base][]>;
}

async function tiny() {
  const backbone = await openFile(path.join(fixtures, 'backbone.safetensors'));
  const images = (await readFloatTensors(path.join(fixtures, 'images.safetensors')))['images']!;
  return { backbone, patches: patchesOfImages(images, backbone.architecture) };
}

async function imported(t: TestContext, name: string) {
  const out = temporary(t), base = await tiny();
  const { adapter } = await importAdapter({ folder: path.join(fixtures, name), out: path.join(out, 'adapter'), backbone: base.backbone, certify });
  return { out, adapter, ...base };
}

/** With random values where a training would have moved them. */
async function trainedAdapter(id: string, options: Record<string, unknown>, folder: string, backbone: Awaited<ReturnType<typeof tiny>>['backbone']): Promise<Adapter> {
  const method = findMethod(id), parsed = parseMethodOptions(id, options), { architecture } = backbone;
  const declared = adapterTensors({ architecture, method, options: parsed, classes: 3 });
  const tensors = initialize(declared, { base: backbone.tensors, seed: 1, gradients: zeroGradients(backbone.tensors) });
  for (const [name, { data }] of Object.entries(tensors)) {
    const noise = normals(streamKey(5, id, name), data.length);
    if (declared.every(d => d.name !== name || !('fixed' in d))) data.forEach((_, i) => { data[i]! += 0.1 * noise[i]!; });
  }
  await saveAdapter({
    folder, tensors,
    manifest: {
      method: { id, version: method.version, options: parsed }, backbone: { name: 'tiny', fingerprint: backbone.fingerprint, architecture },
      classes: ['a', 'b', 'c'], normalization: backbone.normalization, resize: 'stretch',
    },
  });
  return loadAdapter(folder);
}

function zeroGradients(base: Record<string, { shape: readonly number[]; data: ArrayLike<number> }>) {
  return Object.fromEntries(Object.entries(base).map(([name, { shape, data }]) => [name, { shape, data: Float32Array.from(data, (_, i) => Math.sin(i)) }]));
}

function copy(t: TestContext, name: string): string {
  const folder = path.join(temporary(t), name);
  fs.cpSync(path.join(fixtures, name), folder, { recursive: true });
  return folder;
}

function temporary(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-peft-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** PEFT_LAB_PYTHON, else python3; null and the test skipped where it lacks a package. */
function pythonWith(t: TestContext, packages: string): string | null {
  const python = process.env['PEFT_LAB_PYTHON'] ?? 'python3';
  const tried = spawnSync(python, ['-c', `import ${packages}`], { encoding: 'utf8', timeout: 120_000 });
  if (tried.status === 0) return python;
  t.skip(`${python} does not import ${packages}: ${tried.error?.message ?? tried.stderr.trim().split('\n').at(-1)}`);
  return null;
}

function runPython(python: string, folder: string, jobs: readonly Job[]): Record<string, number> {
  const list = path.join(folder, 'jobs.json');
  fs.writeFileSync(list, JSON.stringify({ jobs, base: path.join(fixtures, 'backbone.safetensors'), images: path.join(fixtures, 'images.safetensors') }));
  const done = spawnSync(python, [path.resolve('tools/peft-check.py'), list], { encoding: 'utf8', timeout: 300_000 });
  assert.equal(done.status, 0, done.stderr);
  return JSON.parse(done.stdout.trim().split('\n').at(-1)!) as Record<string, number>;
}
