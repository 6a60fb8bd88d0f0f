import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { UserError } from '../../../src/common/errors';
import { download, type DownloadOptions } from '../../../src/runtime/download';
import { startIndex, type Behaviour, type FakeIndex } from '../../fixtures/wheels';

const content = randomBytes(300_000);

interface Setting { index: FakeIndex; options: DownloadOptions; folder: string }

async function setUp(t: TestContext, behaviours: Behaviour[] = []): Promise<Setting> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-download-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const index = await startIndex(t, [{ name: 'a', version: '1', content }]);
  index.behaviours.push(...behaviours);
  const options = { url: `${index.url}/files/a-1-py3-none-any.whl`, file: path.join(folder, 'new/a.whl'), bytes: content.length, sha256: createHash('sha256').update(content).digest('hex'), retryMilliseconds: 1 };
  return { index, options, folder };
}

/** A port that nobody listens on any more. */
async function closedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise(resolve => server.close(resolve));
  return port;
}

describe('download', () => {
  it('fetches a file, tells how far it is, and does not fetch it again', async t => {
    const { index, options } = await setUp(t);
    const seen: number[] = [];
    await download({ ...options, onProgress: bytes => seen.push(bytes) });
    assert.deepEqual(fs.readFileSync(options.file), content);
    assert.equal(seen.at(-1), content.length);
    assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
    await download(options);
    assert.equal(index.requests.length, 1);
    assert.equal(fs.existsSync(`${options.file}.part`), false);
  });

  it('goes on where the connection was cut', async t => {
    const { index, options } = await setUp(t, ['cut', 'cut']);
    await download(options);
    assert.deepEqual(fs.readFileSync(options.file), content);
    const starts = index.requests.map(({ range }) => Number(/\d+/.exec(range ?? '0')![0]));
    assert.deepEqual([starts.length, starts[0]], [3, 0]);
    assert.ok(starts[1]! > 0 && starts[2]! >= starts[1]!, starts.join());
  });

  it('begins anew with a server that sends the whole file again, or when the beginning was another file\'s', async t => {
    const whole = await setUp(t, ['cut', 'whole']);
    await download(whole.options);
    assert.deepEqual(fs.readFileSync(whole.options.file), content);
    const other = await setUp(t);
    fs.mkdirSync(path.dirname(other.options.file));
    fs.writeFileSync(`${other.options.file}.part`, randomBytes(1000));
    await download(other.options);
    assert.deepEqual(fs.readFileSync(other.options.file), content);
    assert.equal(other.index.requests.length, 2);
  });

  it('refuses another file than the promised one, and leaves nothing of it', async t => {
    const { options } = await setUp(t, ['other']);
    await assert.rejects(download(options), (error: unknown) => error instanceof UserError && /SHA-256/.test(error.what));
    assert.deepEqual(fs.readdirSync(path.dirname(options.file)), []);
  });

  it('waits for a busy server, and ends when nothing helps', async t => {
    const busy = await setUp(t, ['busy', 'busy']);
    await download(busy.options);
    assert.equal(busy.index.requests.length, 3);
    const never = await setUp(t, Array<Behaviour>(20).fill('busy'));
    await assert.rejects(download(never.options), /broke off at 0 %: the server answers 503.*\n {2}Run it again/s);
    assert.ok(never.index.requests.length < 10);
  });

  it('says at once that there is no such file, or no such server', async t => {
    const { index, options } = await setUp(t, ['missing']);
    await assert.rejects(download(options), (error: unknown) => error instanceof UserError && /no such file/.test(error.what) && error.where === options.url);
    assert.equal(index.requests.length, 1);
    const gone = await closedPort();
    await assert.rejects(download({ ...options, url: `http://127.0.0.1:${gone}/a` }), /connection was refused/);
  });

  it('stops when asked, and goes on from there the next time', async t => {
    const { index, options } = await setUp(t, ['stall']);
    const stop = new AbortController();
    const why = new Error('asked');
    await assert.rejects(download({ ...options, signal: stop.signal, onProgress: () => setTimeout(() => stop.abort(why), 30) }), error => error === why);
    const kept = fs.statSync(`${options.file}.part`).size;
    assert.ok(kept > 0 && kept < content.length);
    await download(options);
    assert.deepEqual(fs.readFileSync(options.file), content);
    assert.equal(index.requests.at(-1)!.range, `bytes=${kept}-`);
  });
});
