import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { pruneFolder } from '../../../src/common/bounded-folder';
import { isSegment, openSegmentCache } from '../../../src/data/segment-cache';
import { temporaryFolder } from './pictures';

describe('a cache of segments', () => {
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
    await pruneFolder({ root, isCached: isSegment, maxBytes: 0 });
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
