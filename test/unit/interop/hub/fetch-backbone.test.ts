import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { UserError } from '../../../../src/common/errors';
import { fetchHubBackbone, type HubBackboneOptions } from '../../../../src/interop/hub/fetch-backbone';
import { parseHubAddress } from '../../../../src/interop/hub/repository';
import { hubSettings } from '../../../../src/interop/hub/settings';
import { etagOf, startFakeHub, type FakeHub } from '../../../fixtures/hub-server';

const commit = 'a'.repeat(40), other = 'b'.repeat(40);
const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251));
const config = Buffer.from('{"architecture":"vit_tiny_patch16_224"}');
const files = { 'model.safetensors': { content: weights, isLarge: true }, 'config.json': { content: config }, 'README.md': { content: Buffer.from('hello') } };

let hub: FakeHub;
let cache: string;
before(async () => {
  hub = await startFakeHub([
    { name: 'timm/tiny', commits: { main: commit, v1: other }, files: { ...files, 'pytorch_model.bin': { content: Buffer.from('x'), isLarge: true } } },
    { name: 'owner/private', commits: { main: commit }, files, token: 'secret' },
    { name: 'owner/pickles', commits: { main: commit }, files: { 'pytorch_model.bin': { content: Buffer.from('x') } } },
    { name: 'owner/many', commits: { main: commit }, files: { 'a.safetensors': { content: weights, isLarge: true }, 'sub/b.npz': { content: config }, 'sub/config.json': { content: config }, 'c.safetensors': { content: config } } },
    { name: 'owner/shards', commits: { main: commit }, files: { 'model-00001-of-00002.safetensors': { content: config }, 'model.safetensors.index.json': { content: config } } },
    { name: 'owner/readme', commits: { main: commit }, files: { 'README.md': { content: config } } },
  ]);
});
after(() => hub.close());
beforeEach(() => { cache = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-hub-')); });
afterEach(() => {
  hub.misbehaviours.length = hub.requests.length = 0;
  fs.rmSync(cache, { recursive: true, force: true });
});

function fetchIt(repository: Parameters<typeof parseHubAddress>[0] = 'timm/tiny', options: Partial<HubBackboneOptions> & { token?: string; offline?: string } = {}) {
  const { token, offline, ...rest } = options;
  return fetchHubBackbone({
    address: parseHubAddress(repository), retryMilliseconds: 5,
    settings: hubSettings({ HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, HF_TOKEN: token, HF_HUB_OFFLINE: offline }), ...rest,
  });
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(() => assert.fail('was fetched'), (e: unknown) => e);
  assert.ok(error instanceof UserError, String((error as Error).stack));
  assert.ok(error.remedy, error.message);
  return error.message;
}

const contents = () => hub.requests.filter(r => r.path.endsWith('model.safetensors') && r.host === 'store');

describe('a backbone from the hub', () => {
  it('lies in the layout of Python\'s cache, beside its configuration', async () => {
    const steps: number[] = [];
    const { file, commit: found, warnings } = await fetchIt('timm/tiny', { onProgress: ({ file: name, done, total }) => { if (name === 'model.safetensors') { steps.push(done); assert.equal(total, weights.length); } } });
    const folder = path.join(cache, 'models--timm--tiny');
    assert.equal(file, path.join(folder, 'snapshots', commit, 'model.safetensors'));
    assert.deepEqual([found, warnings], [commit, []]);
    assert.deepEqual(fs.readFileSync(file), weights);
    assert.equal(fs.readlinkSync(file), path.join('..', '..', 'blobs', etagOf(weights, true)));
    assert.deepEqual(fs.readFileSync(path.join(path.dirname(file), 'config.json')), config);
    assert.equal(fs.readFileSync(path.join(folder, 'refs', 'main'), 'utf8'), commit);
    assert.deepEqual(fs.readdirSync(path.join(folder, 'blobs')).sort(), [etagOf(config), etagOf(weights, true)].sort());
    assert.equal(steps.at(-1), weights.length);
    assert.ok(!fs.existsSync(path.join(path.dirname(file), 'README.md')), 'only what is needed');
  });

  it('is fetched once, and shared by revisions with the same content', async () => {
    await fetchIt();
    const again = await fetchIt({ repository: 'timm/tiny', revision: 'v1' });
    assert.ok(again.file.includes(other));
    assert.equal(contents().length, 1);
  });

  it('comes from what Python left in the cache, without a network', async () => {
    const folder = path.join(cache, 'models--timm--tiny');
    const snapshot = path.join(folder, 'snapshots', commit);
    for (const f of [path.join(folder, 'refs'), path.join(folder, 'blobs'), snapshot]) fs.mkdirSync(f, { recursive: true });
    fs.writeFileSync(path.join(folder, 'refs', 'main'), commit);
    fs.writeFileSync(path.join(folder, 'blobs', 'x'), weights);
    fs.symlinkSync('../../blobs/x', path.join(snapshot, 'model.safetensors'));
    assert.equal((await fetchIt('timm/tiny', { offline: '1' })).file, path.join(snapshot, 'model.safetensors'));
    assert.equal(hub.requests.length, 0);
    const gone = await startFakeHub([]);
    await gone.close();
    const unreachable = await fetchHubBackbone({ address: parseHubAddress('timm/tiny'), retryMilliseconds: 1, settings: hubSettings({ HF_ENDPOINT: gone.endpoint, HF_HUB_CACHE: cache }) });
    assert.match(unreachable.warnings[0]!, /connection was refused: timm\/tiny is taken from the cache, as of commit aaaaaaaa/);
  });

  it('is chosen by name where there are several, with the configuration beside it', async () => {
    assert.match(await refusal(fetchIt('owner/many')), /several files of weights: a\.safetensors, c\.safetensors/);
    const { file } = await fetchIt({ repository: 'owner/many', file: 'sub/b.npz' });
    assert.deepEqual(fs.readdirSync(path.dirname(file)).sort(), ['b.npz', 'config.json']);
    assert.match(await refusal(fetchIt({ repository: 'owner/many', file: 'd.safetensors' })), /no file "d\.safetensors".*\n.*a\.safetensors/);
  });

  it('is shown to who has a token, which no other host gets', async () => {
    assert.match(await refusal(fetchIt('owner/private')), /no token is given/);
    assert.match(await refusal(fetchIt('owner/private', { token: 'wrong' })), /token in HF_TOKEN is not accepted.*\n.*Set Hugging Face Token/);
    await fetchIt('owner/private', { token: 'secret' });
    assert.ok(hub.requests.some(r => r.host === 'hub' && r.authorization === 'Bearer secret'));
    assert.ok(hub.requests.every(r => r.host === 'hub' || r.authorization === undefined));
  });

  it('is a copy where links cannot be', async t => {
    const broken = () => Promise.reject(Object.assign(new Error('no links here'), { code: 'EPERM' }));
    t.mock.method(fs.promises, 'symlink', broken);
    t.mock.method(fs.promises, 'link', broken);
    const { file } = await fetchIt();
    assert.ok(fs.lstatSync(file).isFile());
    assert.deepEqual(fs.readFileSync(file), weights);
  });
});

describe('a hub in trouble', () => {
  it('that breaks off is asked for the rest only', async () => {
    hub.misbehaviours.push({ path: /^store:.*model/, times: 2, cutAfter: 100_000 });
    const { file } = await fetchIt();
    assert.deepEqual(fs.readFileSync(file), weights);
    assert.equal(contents().length, 3);
    assert.equal(contents()[0]!.range, undefined);
    assert.match(contents()[2]!.range!, /^bytes=[1-9]\d*-$/);
  });

  it('that always breaks off is left alone soon, and gone on with later', async () => {
    hub.misbehaviours.push({ path: /^store:.*model/, times: 1, cutAfter: 100_000 }, { path: /^store:.*model/, cutAfter: 0 });
    assert.match(await refusal(fetchIt()), /broke off at \d+ %.*\n.*goes on from there/);
    assert.ok(contents().length <= 8, `${contents().length} requests are a storm`);
    hub.misbehaviours.length = 0;
    await fetchIt();
    assert.match(contents().at(-1)!.range!, /^bytes=[1-9]/);
  });

  it('that lies about the size, or sends something else, is not believed', async () => {
    hub.misbehaviours.push({ path: /config\.json/, body: Buffer.from(config).fill('x', 5, 9) });
    assert.match(await refusal(fetchIt()), /git hash differs/);
    hub.misbehaviours[0] = { path: /^store:.*model/, body: weights.subarray(0, 1000) };
    assert.match(await refusal(fetchIt()), /sends 1000 bytes where the hub says 300000/);
    assert.equal(contents().length, 1);
    hub.misbehaviours[0] = { path: /^store:.*model/, body: Buffer.alloc(weights.length) };
    assert.match(await refusal(fetchIt()), /SHA-256 differs/);
    hub.misbehaviours[0] = { path: /^store:.*model/, isChunked: true, body: Buffer.concat([weights, weights]) };
    assert.match(await refusal(fetchIt()), /bytes where the hub says 300000/);
    assert.ok(!fs.existsSync(path.join(cache, 'models--timm--tiny', 'snapshots', commit, 'model.safetensors')));
    hub.misbehaviours.length = 0;
    assert.deepEqual(fs.readFileSync((await fetchIt()).file), weights);
  });

  it('that is busy is asked again after the time it names, a few times', async () => {
    hub.misbehaviours.push({ path: /^hub:\/api/, times: 1, status: 429, headers: { 'retry-after': '1' } }, { path: /^store:.*model/, times: 1, status: 503 });
    const started = Date.now();
    await fetchIt();
    assert.ok(Date.now() - started >= 1000, 'the server asked for a second');
  });

  it('that stays busy is named, with when to come back', async () => {
    hub.misbehaviours.push({ path: /^hub:\/api/, status: 429, headers: { 'retry-after': '3600' } });
    assert.match(await refusal(fetchIt()), /answers 429: too many requests, and timm\/tiny is not in the cache.*\n.*in 3600 seconds.*HF_TOKEN/);
    assert.equal(hub.requests.length, 1);
    hub.misbehaviours[0] = { path: /^hub:\/api/, status: 500 };
    assert.match(await refusal(fetchIt()), /answers 500/);
    assert.equal(hub.requests.length, 5);
  });

  it('gives reasons for 401, 403 and 404', async () => {
    assert.match(await refusal(fetchIt('timm/none')), /does not show timm\/none: it does not exist, or is private or gated, and no token is given/);
    assert.match(await refusal(fetchIt({ repository: 'timm/tiny', revision: 'v9' })), /no timm\/tiny with revision "v9"/);
    hub.misbehaviours.push({ path: /^hub:.*model\.safetensors/, status: 403 });
    assert.match(await refusal(fetchIt()), /access to timm\/tiny is refused: it is gated/);
  });

  it('that hangs can be left', async () => {
    hub.misbehaviours.push({ path: /^store:.*model/, hangs: true });
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('stopped by the user')), 100);
    await assert.rejects(fetchIt('timm/tiny', { signal: stop.signal }), /stopped by the user/);
  });
});

describe('what is not fetched', () => {
  it('is pickles, shards, and repositories without weights', async () => {
    assert.match(await refusal(fetchIt('owner/pickles')), /pytorch_model\.bin is a PyTorch pickle.*\n.*weights_only=True/);
    assert.match(await refusal(fetchIt({ repository: 'timm/tiny', file: 'pytorch_model.bin' })), /pickle.*\n.*Use model\.safetensors/);
    assert.match(await refusal(fetchIt('owner/shards')), /several files/);
    assert.match(await refusal(fetchIt('owner/readme')), /no safetensors or npz/);
    assert.equal(hub.requests.filter(r => r.path.includes('/resolve/')).length, 0);
  });

  it('is anything while offline', async () => {
    assert.match(await refusal(fetchIt('timm/tiny', { offline: 'true' })), /HF_HUB_OFFLINE is set, and timm\/tiny is not in the cache/);
    assert.equal(hub.requests.length, 0);
  });
});

describe('addresses and settings', () => {
  it('take a name, a revision, a page\'s address', () => {
    assert.deepEqual(parseHubAddress('timm/vit.a'), { repository: 'timm/vit.a', revision: 'main', file: null });
    assert.deepEqual(parseHubAddress('https://huggingface.co/timm/vit@v1.0'), { repository: 'timm/vit', revision: 'v1.0', file: null });
    for (const wrong of ['', '../x', 'a/b/c', 'a b', 'a/..', 'x@..', 'x@a/../b']) assert.throws(() => parseHubAddress(wrong), UserError, wrong);
    for (const file of ['../x.safetensors', '/x', 'a//b', 'a\\b']) assert.throws(() => parseHubAddress({ repository: 'a/b', file }), UserError, file);
  });

  it('find the cache as Python does', () => {
    const of = (environment: Record<string, string>) => hubSettings(environment).cache;
    assert.equal(of({}), path.join(os.homedir(), '.cache', 'huggingface', 'hub'));
    assert.equal(of({ XDG_CACHE_HOME: '/x' }), path.resolve('/x/huggingface/hub'));
    assert.equal(of({ HF_HOME: '~/hf', XDG_CACHE_HOME: '/x' }), path.join(os.homedir(), 'hf', 'hub'));
    assert.equal(of({ HF_HUB_CACHE: '/c', HF_HOME: '/hf' }), path.resolve('/c'));
    assert.throws(() => hubSettings({ HF_ENDPOINT: 'huggingface' }), /no address of a hub/);
    assert.equal(hubSettings({ HF_ENDPOINT: 'https://mirror.example/' }).endpoint, 'https://mirror.example');
  });
});
