import assert from 'node:assert/strict';
import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { writeSafetensors } from '../../../src/interop/safetensors';
import { checkBackbone, loadAdapter, saveAdapter, type AdapterToSave } from '../../../src/peft/adapter';
import { initialize } from '../../../src/peft/initialize';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import { trainableTensors } from '../../../src/peft/trainable';
import { tinyArchitecture, tinyBackbone } from '../../fixtures/tiny-vit';

describe('adapter', () => {
  it('refuses another backbone, by shape and by weights', async t => {
    const adapter = await loadAdapter(await saved(t));
    checkBackbone(adapter, { file: 'same.safetensors', fingerprint: 'f', architecture: tinyArchitecture });
    assert.throws(() => checkBackbone(adapter, { file: 'b.safetensors', fingerprint: 'f', architecture: { ...tinyArchitecture, depth: 3 } }), /depth is 2; that of b\.safetensors is 3/);
    assert.throws(() => checkBackbone(adapter, { file: 'b.safetensors', fingerprint: 'g', architecture: tinyArchitecture }), /b\.safetensors has other weights/);
  });

  it('refuses a folder without one, a torn pair, and tensors that are not the method\'s', async t => {
    await assert.rejects(loadAdapter(path.join(os.tmpdir(), 'peft-lab-none')), /there is no adapter here/);
    const torn = await saved(t);
    await writeSafetensors(path.join(torn, 'adapter.safetensors'), { a: { shape: [1], data: Float32Array.of(1) } });
    await assert.rejects(loadAdapter(torn), /does not belong to the manifest\.json/);
    const incomplete = await saved(t, adapter => { delete adapter.tensors['head.bias']; });
    await assert.rejects(loadAdapter(incomplete), /tensor 'head\.bias' is missing; lora with these options needs 3/);
    const stranger = await saved(t, adapter => { adapter.tensors['x'] = { shape: [1], data: Float32Array.of(1) }; });
    await assert.rejects(loadAdapter(stranger), /tensor 'x' is none of lora's/);
    const older = await saved(t, adapter => { adapter.manifest.method.version = 99; });
    await assert.rejects(loadAdapter(older), /version 99 of lora/);
  });

  it('reads manifests from before there were certificates', async t => {
    const folder = await saved(t), file = path.join(folder, 'manifest.json');
    const { certificate, ...older } = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
    assert.equal(certificate, null);
    fs.writeFileSync(file, JSON.stringify(older));
    assert.equal((await loadAdapter(folder)).manifest.certificate, null);
  });

  it('of an unknown backbone meets any that has its tensors', async t => {
    const adapter = await loadAdapter(await saved(t, a => { a.manifest.backbone.fingerprint = null; }));
    checkBackbone(adapter, { file: 'b.safetensors', fingerprint: 'g', architecture: { ...tinyArchitecture, heads: 4, layerNormEpsilon: 1e-12, hidden: 64 } });
    assert.throws(() => checkBackbone(adapter, { file: 'b.safetensors', fingerprint: 'g', architecture: { ...tinyArchitecture, depth: 3 } }), /its tensors \(.*\) are not those that lora has on b\.safetensors/);
  });

  it('does not read the tensors\' file into one buffer, which could not hold more than 2 GiB', async t => {
    const { readFile } = fsPromises;
    t.mock.method(fsPromises, 'readFile', (file: string, ...rest: []) => (file.endsWith('.safetensors') ? Promise.reject(new Error('too large')) : readFile(file, ...rest)));
    await loadAdapter(await saved(t));
  });

  it('refuses a manifest that is damaged', async t => {
    const folder = await saved(t);
    fs.writeFileSync(path.join(folder, 'manifest.json'), '{"format":');
    await assert.rejects(loadAdapter(folder), /this is not the manifest of an adapter/);
  });
});

async function saved(t: TestContext, change: (adapter: AdapterToSave) => void = () => undefined): Promise<string> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-adapter-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const method = findMethod('lora'), options = parseMethodOptions('lora', { rank: 2 });
  const declared = trainableTensors({ architecture: tinyArchitecture, method, options, classes: 3 });
  const adapter: AdapterToSave = {
    folder, tensors: initialize(declared, { base: tinyBackbone(), seed: 1 }),
    manifest: {
      method: { id: 'lora', version: method.version, options }, classes: ['a', 'b', 'c'],
      backbone: { name: 'tiny', fingerprint: 'f', architecture: tinyArchitecture },
      normalization: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }, resize: 'stretch',
    },
  };
  change(adapter);
  await saveAdapter(adapter);
  return folder;
}
