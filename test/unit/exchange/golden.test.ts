/** Adapters that Hugging Face's PEFT and the study's code wrote (../shared/reference/golden/README.md): imported, classified with, exported again. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { exportMerged, exportPeft, exportStudy } from '../../../src/exchange/export';
import { importAdapter } from '../../../src/exchange/import';
import { readFloatTensors } from '../../../src/interop/float-tensors';
import { openFile, evaluateAdapter, evaluateMerged, goldenPatches, largestDifference } from './fixtures';
import { fastestEngine } from '../../fixtures/engines';

const golden = path.resolve(process.cwd(), '../shared/reference/golden');
const deit = path.resolve(process.cwd(), '../shared/weights/deit_tiny_patch16_224.safetensors');

const peftCases = [
  { folder: 'timm_lora_qkv_r8_a16', backbone: deit, dialect: 'timm', method: 'lora' },
  { folder: 'hf_vit_lora_qv_r8', backbone: path.join(golden, 'hf_peft/hf_vit_base/model.safetensors'), dialect: 'hf', method: 'lora' },
] as const;

describe('adapters of Hugging Face PEFT', () => {
  for (const { folder, backbone: file, dialect, method } of peftCases) {
    it(`${folder}: imported, gives PEFT's logits; exported, the same tensors`, async t => {
      if (!fs.existsSync(golden) || !fs.existsSync(deit)) return t.skip('../shared is not here');
      const engine = await fastestEngine(t);
      if (!engine) return;
      const source = path.join(golden, 'hf_peft', folder), out = temporary(t);
      const backbone = await openFile(file);
      const { adapter } = await importAdapter({ folder: source, out: path.join(out, 'adapter'), backbone, certify: async () => ({ engine, threads: 2 }) });
      assert.equal(adapter.manifest.method.id, method);
      assert.equal(adapter.manifest.backbone.fingerprint, backbone.fingerprint);
      const { reload, merge, unmerge } = adapter.manifest.certificate!;
      assert.ok(reload === 0 && merge! < 1e-4 && unmerge! < 1e-4, JSON.stringify(adapter.manifest.certificate));

      const expected = (await readFloatTensors(path.join(source, 'expected.safetensors')))['logits']!.data;
      const patches = await goldenPatches(golden, backbone.architecture);
      const logits = await evaluateAdapter(engine, adapter, backbone, patches);
      t.diagnostic(`logits off by ${largestDifference(logits, expected).toExponential(1)}`);
      assert.ok(largestDifference(logits, expected) <= 1e-4);

      await exportPeft({ adapter, out: path.join(out, 'peft'), backbone: null }, dialect);
      const [own, theirs] = await Promise.all([path.join(out, 'peft'), source].map(f => readFloatTensors(path.join(f, 'adapter_model.safetensors'))));
      assert.deepEqual(own, theirs);
      const [config, given] = [path.join(out, 'peft'), source].map(f => JSON.parse(fs.readFileSync(path.join(f, 'adapter_config.json'), 'utf8')) as Record<string, unknown>);
      for (const key of ['peft_type', 'r', 'lora_alpha', 'target_modules', 'modules_to_save', 'use_dora', 'use_rslora', 'bias', 'auto_mapping']) assert.deepEqual(config![key], given![key], key);

      for (const names of ['timm', 'hf'] as const) {
        await exportMerged({ adapter, out: path.join(out, names), backbone }, names);
        const merged = await evaluateMerged(engine, path.join(out, names), patches);
        assert.ok(largestDifference(merged, expected) <= 1e-4, `merged as ${names}: ${largestDifference(merged, expected)}`);
      }
    });
  }
});

describe('adapters of the study', () => {
  for (const [folder, id] of [['linear', 'linear'], ['bitfit', 'bitfit'], ['lora', 'lora'], ['adaptformer', 'adaptformer'], ['vpt_deep', 'vpt-deep']] as const) {
    it(`${folder}: imported, gives the study's logits; exported, its tensors and flags`, async t => {
      if (!fs.existsSync(golden) || !fs.existsSync(deit)) return t.skip('../shared is not here');
      const engine = await fastestEngine(t);
      if (!engine) return;
      const source = path.join(golden, folder), out = temporary(t);
      const backbone = await openFile(deit);
      const { adapter } = await importAdapter({ folder: source, out: path.join(out, 'adapter'), backbone, certify: async () => ({ engine, threads: 2 }) });
      assert.equal(adapter.manifest.method.id, id);
      const expected = (await readFloatTensors(path.join(source, 'expected.safetensors')))['logits_eval']!.data;
      const logits = await evaluateAdapter(engine, adapter, backbone, await goldenPatches(golden, backbone.architecture));
      assert.ok(largestDifference(logits, expected) <= 1e-4, String(largestDifference(logits, expected)));

      await exportStudy({ adapter, out: path.join(out, 'study'), backbone: null });
      const [own, theirs] = await Promise.all([path.join(out, 'study'), source].map(f => readFloatTensors(path.join(f, 'init.safetensors'))));
      assert.deepEqual(own, theirs);
      const again = await importAdapter({ folder: path.join(out, 'study'), out: path.join(out, 'again'), backbone: null, certify: () => Promise.reject(new Error('nothing to measure')) });
      assert.deepEqual(again.adapter.tensors, adapter.tensors);
      assert.deepEqual(again.adapter.manifest.method, adapter.manifest.method);
      assert.deepEqual([again.adapter.manifest.backbone.fingerprint, again.adapter.manifest.certificate], [null, null]);
      assert.match(again.remarks.join(), /its shape is a guess: 12 blocks of width 192/);
    });
  }
});

function temporary(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-exchange-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}
