import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { folderBytes, pruneFolder } from '../../../src/data/bounded-folder';
import { openSegmentCache } from '../../../src/data/segment-cache';
import { temporaryFolder } from './pictures';

describe('a bounded folder', () => {
  it('loses what was not of use for the longest time, but nothing that is kept, and nothing but segments', async t => {
    const root = temporaryFolder(t);
    const write = (name: string, age: number) => {
      const file = path.join(root, name);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, Buffer.alloc(100));
      fs.utimesSync(file, Date.now() / 1000 - age, Date.now() / 1000 - age);
    };
    write('a/old.segment', 300);
    write('a/older.segment', 400);
    write('b/oldest.segment', 500);
    write('b/young.segment', 10);
    write('notes.txt', 1000);
    assert.equal(await folderBytes(root), 400);
    assert.equal(await pruneFolder({ root, maxBytes: 400, keep: [] }), 400);
    assert.equal(await pruneFolder({ root, maxBytes: 250, keep: [path.join(root, 'b')] }), 200);
    assert.deepEqual(fs.readdirSync(root, { recursive: true }).map(String).sort(), ['a', 'b', path.join('b', 'oldest.segment'), path.join('b', 'young.segment'), 'notes.txt']);
    assert.equal(await pruneFolder({ root, maxBytes: 100, keep: [] }), 100);
    assert.ok(fs.existsSync(path.join(root, 'b', 'young.segment')));
    assert.equal(await pruneFolder({ root: path.join(root, 'nowhere'), maxBytes: 0, keep: [] }), 0);
  });

  it('takes the use of a segment, not its writing, for its age; and a reader keeps what it has open', { skip: process.platform === 'win32' }, async t => {
    const root = temporaryFolder(t), folder = path.join(root, 'x');
    const writer = await openSegmentCache({ folder, what: 'records' });
    await writer.add('k', { data: Uint8Array.of(1, 2, 3), width: 3, height: 1 });
    await writer.close();
    const [file] = fs.readdirSync(folder).map(name => path.join(folder, name));
    fs.utimesSync(file!, 1, 1);
    const reader = await openSegmentCache({ folder, what: 'records' });
    t.after(() => reader.close());
    assert.ok(Date.now() - fs.statSync(file!).mtimeMs < 60_000);
    await pruneFolder({ root, maxBytes: 0, keep: [] });
    assert.deepEqual([...reader.read('k')!.data], [1, 2, 3]);
  });

  it('shows a reader what another process completed, when it looks again', async t => {
    const folder = temporaryFolder(t);
    const [a, b] = await Promise.all([1, 2].map(() => openSegmentCache({ folder, what: 'records' })));
    t.after(() => Promise.all([a!.close(), b!.close()]));
    await a!.add('k', { data: Uint8Array.of(7), width: 1, height: 1 });
    await a!.flush();
    assert.equal(b!.has('k'), false);
    await b!.refresh();
    assert.deepEqual([...b!.read('k')!.data], [7]);
  });
});
