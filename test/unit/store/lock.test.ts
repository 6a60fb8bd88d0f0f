import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { acquireLock, lockHolder } from '../../../src/store/lock';
import { cancelRequested, clearCancelRequest, requestCancel } from '../../../src/store/requests';
import { temporaryFolder } from './fixtures';

describe('lock', () => {
  it('lets one launcher in, and the next one when the first is done', t => {
    const store = path.join(temporaryFolder(t), 'a.peft');
    const first = acquireLock(store);
    assert.equal(lockHolder(store)?.pid, process.pid);
    assert.throws(() => acquireLock(store), /being run already/);
    first.release();
    assert.equal(lockHolder(store), null);
    acquireLock(store).release();
    assert.deepEqual(fs.readdirSync(store), []);
  });

  it('takes over from a dead process, and says so to nobody', t => {
    const store = temporaryFolder(t);
    const dead = spawnSync(process.execPath, ['-e', '']).pid;
    fs.writeFileSync(path.join(store, 'lock'), JSON.stringify({ pid: dead, host: os.hostname(), started: 0, token: 'x' }));
    assert.equal(lockHolder(store), null);
    const lock = acquireLock(store);
    assert.ok(lock.held());
    lock.release();
  });

  it('respects a launcher on another machine until it falls silent', t => {
    const store = temporaryFolder(t);
    const file = path.join(store, 'lock');
    fs.writeFileSync(file, JSON.stringify({ pid: 1, host: `not-${os.hostname()}`, started: 0, token: 'x' }));
    assert.throws(() => acquireLock(store), /process 1 on not-/);
    const longAgo = new Date(Date.now() - 3_600_000);
    fs.utimesSync(file, longAgo, longAgo);
    acquireLock(store).release();
  });

  it('a lock that was torn by a crash does not last', t => {
    const store = temporaryFolder(t);
    const file = path.join(store, 'lock');
    fs.writeFileSync(file, '');
    assert.throws(() => acquireLock(store), /being run already/);
    const before = new Date(Date.now() - 60_000);
    fs.utimesSync(file, before, before);
    acquireLock(store).release();
  });
});

describe('cancel requests', () => {
  it('are seen, and forgotten when they are older than the run', t => {
    const store = temporaryFolder(t);
    assert.equal(cancelRequested(store), false);
    requestCancel(store);
    assert.equal(cancelRequested(store), true);
    clearCancelRequest(store, Date.now() - 60_000);
    assert.equal(cancelRequested(store), true, 'made after the run began');
    clearCancelRequest(store);
    assert.equal(cancelRequested(store), false);
  });
});
