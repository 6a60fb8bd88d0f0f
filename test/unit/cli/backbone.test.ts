import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { backboneFile, findBackbone } from '../../../src/cli/backbone';
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
    assert.match(said.join('\n'), /Asking the hub for owner\/clip-tiny\n[^]*model\.safetensors: 0\.0 of 0\.0 MB/);
    const { architecture, projection } = await readArchitecture(file);
    assert.deepEqual([architecture.heads, architecture.activation, projection], [2, 'quick-gelu', 12]);
  });

  it('is named with its revision, also in a flag', async () => {
    const { file } = await findBackbone({ hub: { repository: 'owner/clip-tiny', revision: 'v2' } }, { folder });
    assert.ok(file.includes('e'.repeat(40)));
    assert.equal(await backboneFile('hub:owner/clip-tiny@v2', folder), file);
    await assert.rejects(backboneFile('hub:owner/none', folder), /does not show owner\/none/);
  });

  it('is a file of this machine otherwise', async () => {
    assert.match((await findBackbone({ file: 'demo' }, { folder })).file, /drawn-vit\.safetensors$/);
    await assert.rejects(findBackbone({ file: 'none.npz' }, { folder }), /no such backbone file.*\n.*"hub" takes one/);
  });
});
