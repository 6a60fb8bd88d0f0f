import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { folderBytes, pruneFolder } from '../../../src/common/bounded-folder';
import { temporaryFolder } from '../data/pictures';

describe('a bounded folder', () => {
  it('loses what was not of use for the longest time, but nothing that is kept, and nothing but its own', async t => {
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
    const cache = { root, isCached: (name: string) => name.endsWith('.segment') };
    assert.equal(await folderBytes(cache), 400);
    assert.equal(await pruneFolder({ ...cache, maxBytes: 400 }), 400);
    assert.equal(await pruneFolder({ ...cache, maxBytes: 250, keep: [path.join(root, 'b')] }), 200);
    assert.deepEqual(fs.readdirSync(root, { recursive: true }).map(String).sort(), ['a', 'b', path.join('b', 'oldest.segment'), path.join('b', 'young.segment'), 'notes.txt']);
    assert.equal(await pruneFolder({ ...cache, maxBytes: 100 }), 100);
    assert.ok(fs.existsSync(path.join(root, 'b', 'young.segment')));
    assert.equal(await pruneFolder({ ...cache, root: path.join(root, 'nowhere'), maxBytes: 0 }), 0);
  });
});
