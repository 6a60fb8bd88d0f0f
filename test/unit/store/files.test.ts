import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { UserError } from '../../../src/common/errors';
import { appendLine, readJson, readLines, writeAtomic, writeError, writeJson } from '../../../src/store/files';
import { temporaryFolder } from './fixtures';

describe('store files', () => {
  it('writes whole files, creates the folder and leaves nothing else behind', t => {
    const file = path.join(temporaryFolder(t), 'deep/er/a.json');
    writeJson(file, { a: 1 });
    writeJson(file, { a: 2 });
    assert.deepEqual(readJson(file), { a: 2 });
    assert.deepEqual(fs.readdirSync(path.dirname(file)), ['a.json']);
  });

  it('keeps the old file when the new one cannot be put in its place', t => {
    const folder = path.join(temporaryFolder(t), 'is-a-folder');
    fs.mkdirSync(path.join(folder, 'full'), { recursive: true });
    assert.throws(() => writeAtomic(folder, 'x'));
    assert.deepEqual(fs.readdirSync(path.dirname(folder)), ['is-a-folder']);
  });

  it('ignores a torn last line, and a torn one that was written after', t => {
    const file = path.join(temporaryFolder(t), 'events.jsonl');
    appendLine(file, { n: 1 });
    fs.appendFileSync(file, '{"n": 2, "te');
    assert.deepEqual(readLines(file), [{ n: 1 }]);
    appendLine(file, { n: 3 });
    assert.deepEqual(readLines(file), [{ n: 1 }, { n: 3 }]);
  });

  it('reads missing files as nothing and names broken ones', t => {
    const folder = temporaryFolder(t);
    assert.equal(readJson(path.join(folder, 'none.json')), null);
    assert.deepEqual(readLines(path.join(folder, 'none.jsonl')), []);
    fs.writeFileSync(path.join(folder, 'b.json'), '{');
    assert.throws(() => readJson(path.join(folder, 'b.json')), (error: UserError) => error.where === path.join(folder, 'b.json'));
  });

  it('says that the disk is full, where, and what to do', () => {
    const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    const error = writeError('/disk/study.peft/study.json', full) as UserError;
    assert.ok(error instanceof UserError);
    assert.match(error.message, /disk is full/);
    assert.equal(error.where, path.dirname('/disk/study.peft/study.json'));
    assert.match(error.remedy!, /Free some space/);
    assert.equal(writeError('x', error), error);
  });
});
