import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { UserError } from '../../../src/common/errors';
import { unpack } from '../../../src/runtime/unpack';
import { makeZip, type ZipEntry } from '../../fixtures/wheels';

function write(t: TestContext, content: Buffer): { file: string; folder: string; root: string } {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-unpack-'));
  t.after(() => fs.rmSync(root, { recursive: true, force: true }));
  const file = path.join(root, 'a.whl');
  fs.writeFileSync(file, content);
  return { file, root, folder: path.join(root, 'inner/site') };
}

describe('unpack', () => {
  it('takes what is wanted, with the modes of programs', async t => {
    const { file, folder } = write(t, makeZip([{ name: 'a/lib/x.so', data: 'x' }, { name: 'a/', data: '' }, { name: 'a/bin/tool', data: '#!', mode: 0o100755 }, { name: 'b.py', data: 'no' }]));
    const shares: number[] = [];
    assert.deepEqual(await unpack({ file, folder, keep: name => name.startsWith('a/'), onProgress: share => shares.push(share) }), ['a/lib/x.so', 'a/bin/tool']);
    assert.deepEqual(fs.readdirSync(folder, { recursive: true }).map(f => String(f).replaceAll('\\', '/')).sort(), ['a', 'a/bin', 'a/bin/tool', 'a/lib', 'a/lib/x.so']);
    assert.deepEqual(shares, [1 / 3, 1]);
    if (process.platform !== 'win32') assert.deepEqual(['a/bin/tool', 'a/lib/x.so'].map(f => fs.statSync(path.join(folder, f)).mode & 0o111), [0o111, 0]);
  });

  const bad: [what: string, entry: ZipEntry][] = [
    ['above the folder', { name: '../evil', data: 'x' }],
    ['far above the folder', { name: 'a/../../../evil', data: 'x' }],
    ['an absolute path', { name: '/tmp/peft-lab-evil', data: 'x' }],
    ['a path of Windows', { name: '..\\evil', data: 'x' }],
    ['a drive', { name: 'C:/evil', data: 'x' }],
    ['a link', { name: 'a/link', data: '/etc', mode: 0o120777 }],
  ];
  for (const [what, entry] of bad) {
    it(`refuses ${what} before anything else is written`, async t => {
      const { file, folder, root } = write(t, makeZip([entry, { name: 'a/fine', data: 'x' }]));
      await assert.rejects(unpack({ file, folder, keep: () => true }), UserError);
      assert.deepEqual(fs.readdirSync(root, { recursive: true }).filter(f => /evil|fine/.test(String(f))), []);
    });
  }

  it('says that a file is no archive, or a torn one', async t => {
    for (const content of [Buffer.from('no zip'), makeZip([{ name: 'a', data: 'x'.repeat(1000) }]).subarray(0, 700)]) {
      const { file, folder } = write(t, content);
      await assert.rejects(unpack({ file, folder, keep: () => true }), /cannot be read.*\n {2}Run it again/s);
    }
  });
});
