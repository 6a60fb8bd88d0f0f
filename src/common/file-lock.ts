/** One process at a time, by a file that says which; its modification time is the holder's heartbeat. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { hasCode, UserError } from './errors';
import { processIsAlive } from './process-is-alive';
import { replaceFileSync } from './replace-file';

export interface LockHolder {
  pid: number;
  host: string;
  started: number;
  token: string;
  /** Milliseconds since 1970 of the last sign of life. */
  heartbeat: number;
}

export interface Lock {
  /** Whether the file is still this process's; false once another one took over, say after a long suspension. */
  held(): boolean;
  release(): void;
}

/** What is said when another process holds the lock. */
export interface Refusal {
  what: string;
  remedy: string;
}

const HEARTBEAT_MILLISECONDS = 3000;
/** Silence after which a holder counts as dead although its process cannot be asked: another machine. */
const SILENCE_MILLISECONDS = 120_000;
/** A live process of that number and yet so long silent: the number was given to another program. */
const REUSED_PID_MILLISECONDS = 900_000;

/** Takes the lock in a folder that is there; a UserError, with the holder, when a live process has it. */
export function takeFileLock(file: string, refusal: Refusal): Lock {
  const token = randomBytes(8).toString('hex');
  if (!tryCreate(file, token)) {
    removeStale(file, refusal);
    if (!tryCreate(file, token)) throw takenError(file, refusal);
  }
  return keepAlive(file, token);
}

/** Who holds the lock and shows signs of life; null for nobody. */
export function lockHolderOf(file: string): LockHolder | null {
  const holder = readHolder(file);
  return holder && !isStale(holder) ? holder : null;
}

function readHolder(file: string): LockHolder | null {
  const modified = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
  const text = modified === undefined ? null : readUnlessBusy(file);
  if (text === null || modified === undefined) return null;
  try {
    return { ...JSON.parse(text) as Omit<LockHolder, 'heartbeat'>, heartbeat: modified };
  } catch {
    // Created and not written yet, or torn by a crash: the time decides.
    return { pid: 0, host: text === BUSY ? BUSY : '', started: modified, token: '', heartbeat: modified };
  }
}

const BUSY = '(busy)';

/** Windows refuses to read a file for moments, while a scanner has it: somebody holds the lock then, as far as one knows. */
function readUnlessBusy(file: string): string | null {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    return hasCode(error, 'ENOENT', 'ENOTDIR') ? null : BUSY;
  }
}

function isStale({ pid, host, heartbeat }: LockHolder): boolean {
  const silence = Date.now() - heartbeat;
  if (!host) return silence > HEARTBEAT_MILLISECONDS;
  if (host !== os.hostname()) return silence > SILENCE_MILLISECONDS;
  return !processIsAlive(pid) || silence > REUSED_PID_MILLISECONDS;
}

function tryCreate(file: string, token: string): boolean {
  try {
    const holder = { pid: process.pid, host: os.hostname(), started: Date.now(), token };
    fs.writeFileSync(file, `${JSON.stringify(holder)}\n`, { flag: 'wx' });
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** Moves a dead holder's lock away. Where another process was quicker, its new lock is put back. */
function removeStale(file: string, refusal: Refusal): void {
  const holder = readHolder(file);
  if (!holder) return;
  if (!isStale(holder)) throw takenError(file, refusal);
  const aside = `${file}.${randomBytes(4).toString('hex')}.stale`;
  try {
    replaceFileSync(file, aside);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  if (readHolder(aside)?.token !== holder.token) fs.linkSync(aside, file);
  fs.rmSync(aside, { force: true });
}

function takenError(file: string, { what, remedy }: Refusal): UserError {
  const holder = readHolder(file);
  return new UserError({ what: `${what}${holder?.pid ? ` (process ${holder.pid} on ${holder.host})` : ''}`, where: path.dirname(file), remedy });
}

function keepAlive(file: string, token: string): Lock {
  const held = () => {
    const holder = readHolder(file);
    return holder?.token === token || holder?.host === BUSY;
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
