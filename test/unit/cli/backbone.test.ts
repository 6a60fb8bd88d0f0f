import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { findBackbone, flagBackbone } from '../../../src/cli/backbone';
import { openExchangeBackbone } from '../../../src/cli/exchange';
import { writeSafetensors } from '../../../src/interop/safetensors';
import { loadAdapter } from '../../../src/peft/adapter';
import { readJson } from '../../../src/store/files';
import { storePaths, trialPaths } from '../../../src/store/paths';
import { readStoredStudy } from '../../../src/store/study-store';
import type { TrialResult } from '../../../src/common/trial';
import { makeTinyStudy } from '../../fixtures/tiny-study';
import { readArchitecture } from '../../../src/vit/weights';
import { startFakeHub, type FakeHub } from '../../fixtures/hub-server';

const goldens = path.resolve(process.cwd(), 'test/fixtures/backbones/hf-clip');

describe('the backbone that a study or a flag names', () => {
  let hub: FakeHub, folder: string;
  before(async () => {
    const read = (name: string) => fs.readFileSync(path.join(goldens, name));
    hub = await startFakeHub([{
      name: 'owner/clip-tiny', commits: { main: 'd'.repeat(40), v2: 'e'.repeat(40) },
      files: { 'model.safetensors': { content: read('model.safetensors'), isLarge: true }, 'config.json': { content: read('config.json') } },
    }]);
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-backbone-'));
    Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: folder });
  });
  after(async () => {
    delete process.env['HF_ENDPOINT'];
    delete process.env['HF_HUB_CACHE'];
    await hub.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  it('comes from the hub with its configuration, and says how far it is', async () => {
    const said: string[] = [];
    const { file, name, warnings } = await findBackbone({ hub: 'owner/clip-tiny' }, { folder, onProgress: text => said.push(text) });
    assert.deepEqual([name, warnings], ['clip-tiny', []]);
    assert.match(said.join('\n'), /Asking the hub for owner\/clip-tiny\n[^]*model\.safetensors: \d.* of \d.* kB/);
    const { architecture, projection } = await readArchitecture(file);
    assert.deepEqual([architecture.heads, architecture.activation, projection], [2, 'quick-gelu', 12]);
  });

  it('is named with its revision, also in a flag', async () => {
    const { file } = await findBackbone({ hub: { repository: 'owner/clip-tiny', revision: 'v2' } }, { folder });
    assert.ok(file.includes('e'.repeat(40)));
    const said: string[] = [];
    const named = await flagBackbone('hub:owner/clip-tiny@v2', text => said.push(text));
    assert.deepEqual([named.file, named.name, said], [file, 'clip-tiny', ['Asking the hub for owner/clip-tiny']]);
    await assert.rejects(flagBackbone('hub:owner/none', () => undefined), /does not show owner\/none/);
  });

  it('has the repository\'s name for an adapter, whatever its file is called', async () => {
    const said: string[] = [];
    assert.equal((await openExchangeBackbone('hub:owner/clip-tiny', { adapter: null, say: text => said.push(text) })).name, 'clip-tiny');
    assert.match(said.join('\n'), /^Asking the hub/);
  });

  it('that does not come is waited for until the run is cancelled, which leaves a document', { skip: process.platform === 'win32' }, async t => {
    const study = await makeTinyStudy(t);
    study.write({ backbone: { hub: 'owner/clip-tiny@v3' } });
    hub.misbehaviours.push({ path: /clip-tiny/, hangs: true });
    t.after(() => { hub.misbehaviours.length = 0; });
    const asked = hub.requests.length;
    const end = await study.call(['run', 'tiny.peft.json', '--json'], child => {
      const timer = setInterval(() => { if (hub.requests.length > asked) { clearInterval(timer); child.kill('SIGINT'); } }, 20);
    });
    assert.deepEqual([end.code, end.stdout && JSON.parse(end.stdout)], [130, { cancelled: true }], end.stderr);
  });

  it('makes a study with a head from texts, trained and used for predictions', async t => {
    const study = await makeTinyStudy(t);
    await writeSafetensors(path.join(study.root, 'texts.safetensors'), {
      text_embeddings: { shape: [3, 12], data: Float32Array.from({ length: 36 }, (_, i) => Math.cos(i * i)) }, logit_scale: { shape: [], data: Float32Array.of(3) },
    }, { classes: '["bright","dark","grey"]' });
    const changes = { backbone: { hub: 'owner/clip-tiny' }, data: [{ path: 'images', textEmbeddings: 'texts.safetensors' }] };
    study.write({ ...changes, methods: [{ method: 'lora', options: { rank: 1 } }] });
    const run = await study.call(['run', 'tiny.peft.json', '--json']);
    assert.equal(run.code, 0, run.stderr);
    assert.equal(fs.existsSync(storePaths(study.store).preparing), false, 'what was prepared is no news');
    const id = readStoredStudy(study.store)!.trials[0]!;
    const { adapter } = trialPaths(storePaths(study.store).trial(id));
    const { manifest, tensors } = await loadAdapter(adapter);
    assert.deepEqual([manifest.backbone.name, manifest.backbone.architecture.projection, tensors['head.proj.weight']!.shape], ['clip-tiny', 12, [12, 16]]);
    assert.equal(resultOf(study.store, id).parameters.head, 12 * 16 + 12 * 3 + 3);

    const predicted = await study.call(['predict', '--backbone', 'hub:owner/clip-tiny', '--adapter', adapter, '--data', 'images/dark', '--engine', 'cpu', '--out', 'p.csv', '--json']);
    assert.equal(predicted.code, 0, predicted.stderr);
    assert.equal((JSON.parse(predicted.stdout) as { images: number }).images, 10);

    study.write({ ...changes, methods: [{ method: 'lora', options: { rank: 1 } }], data: [{ path: 'images' }] });
    const plain = await study.call(['plan', 'tiny.peft.json', '--json']);
    assert.match(plain.stderr, /^Asking the hub for owner\/clip-tiny$/m);
    assert.notEqual((JSON.parse(plain.stdout) as { trials: { id: string }[] }).trials[0]!.id, id, 'a head from texts is another trial');
    study.write({ ...changes, backbone: { file: 'tiny.safetensors', architecture: { heads: 2 } } });
    assert.match((await study.call(['plan', 'tiny.peft.json'])).stderr, /tiny\.safetensors: the backbone has no projection into the space of text embeddings/);
  });

  it('is a file of this machine otherwise', async () => {
    assert.match((await findBackbone({ file: 'demo' }, { folder })).file, /drawn-vit\.safetensors$/);
    await assert.rejects(findBackbone({ file: 'none.npz' }, { folder }), /no such backbone file.*\n.*"hub" takes one/);
    await assert.rejects(flagBackbone('none.npz', () => undefined), /no such backbone file.*\n.*Correct --backbone/);
  });
});

function resultOf(store: string, id: string): TrialResult {
  return readJson(trialPaths(storePaths(store).trial(id)).result) as TrialResult;
}
