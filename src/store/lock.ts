/** One launcher a store. The lock file says who; its modification time is the holder's heartbeat. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { UserError } from '../common/errors';
import { hasCode, readTextIfThere, renameWithRetry, writing } from './files';
import { storePaths } from './paths';

export interface LockInfo {
  pid: number;
  host: string;
  started: number;
  token: string;
  /** Milliseconds since 1970 of the last sign of life. */
  heartbeat: number;
}

export interface Lock {
  /** Whether the file is still this process's; false once another launcher took over, say after a long suspension. */
  held(): boolean;
  release(): void;
}

export const HEARTBEAT_MILLISECONDS = 3000;
/** Silence after which a holder counts as dead although its process cannot be asked: another machine. */
const SILENCE_MILLISECONDS = 120_000;
/** A live process of that number and yet so long silent: the number was given to another program. */
const REUSED_PID_MILLISECONDS = 900_000;

/** Takes the store's lock; a UserError when a live launcher has it. Creates the store. */
export function acquireLock(store: string): Lock {
  const file = storePaths(store).lock;
  const token = randomBytes(8).toString('hex');
  writing(file, () => {
    fs.mkdirSync(store, { recursive: true });
    if (tryCreate(file, token)) return;
    removeStale(file);
    if (!tryCreate(file, token)) throw takenError(file, readLock(store));
  });
  return keepAlive(file, token);
}

/** Who holds the store's lock and shows signs of life; null for nobody. */
export function lockHolder(store: string): LockInfo | null {
  const lock = readLock(store);
  return lock && !isStale(lock) ? lock : null;
}

/** Whether a process of this machine runs. One that may not be asked does. */
export function processIsAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, 'EPERM');
  }
}

function readLock(store: string): LockInfo | null {
  return parseLock(storePaths(store).lock);
}

function parseLock(file: string): LockInfo | null {
  const modified = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
  const text = modified === undefined ? null : readUnlessBusy(file);
  if (text === null || modified === undefined) return null;
  try {
    return { ...JSON.parse(text) as Omit<LockInfo, 'heartbeat'>, heartbeat: modified };
  } catch {
    // Created and not written yet, or torn by a crash: the time decides.
    return { pid: 0, host: text === BUSY ? BUSY : '', started: modified, token: '', heartbeat: modified };
  }
}

const BUSY = '(busy)';

/** Windows refuses to read a file for moments, while a scanner has it: somebody holds the lock then, as far as one knows. */
function readUnlessBusy(file: string): string | null {
  try {
    return readTextIfThere(file);
  } catch {
    return BUSY;
  }
}

function isStale({ pid, host, heartbeat }: LockInfo): boolean {
  const silence = Date.now() - heartbeat;
  if (!host) return silence > HEARTBEAT_MILLISECONDS;
  if (host !== os.hostname()) return silence > SILENCE_MILLISECONDS;
  return !processIsAlive(pid) || silence > REUSED_PID_MILLISECONDS;
}

function tryCreate(file: string, token: string): boolean {
  try {
    const lock = { pid: process.pid, host: os.hostname(), started: Date.now(), token };
    fs.writeFileSync(file, `${JSON.stringify(lock)}\n`, { flag: 'wx' });
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** Moves a dead holder's lock away. Where another launcher was quicker, its new lock is put back. */
function removeStale(file: string): void {
  const lock = parseLock(file);
  if (!lock) return;
  if (!isStale(lock)) throw takenError(file, lock);
  const aside = `${file}.${randomBytes(4).toString('hex')}.stale`;
  try {
    renameWithRetry(file, aside);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  if (parseLock(aside)?.token !== lock.token) fs.linkSync(aside, file);
  fs.rmSync(aside, { force: true });
}

function takenError(file: string, lock: LockInfo | null): UserError {
  return new UserError({
    what: `this study is being run already${lock?.pid ? ` (process ${lock.pid} on ${lock.host})` : ''}`,
    where: path.dirname(file),
    remedy: 'Wait until it ends, or cancel it first.',
  });
}

function keepAlive(file: string, token: string): Lock {
  const held = () => {
    const lock = parseLock(file);
    return lock?.token === token || lock?.host === BUSY;
  };
  const timer = setInterval(() => {
    const now = new Date();
    // A missed beat does no harm; the next one comes in seconds.
    try { if (held()) fs.utimesSync(file, now, now); } catch { /* see above */ }
  }, HEARTBEAT_MILLISECONDS);
  timer.unref();
  return {
    held,
    release() {
      clearInterval(timer);
      if (held()) fs.rmSync(file, { force: true });
    },
  };
}
