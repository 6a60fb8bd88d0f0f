/**
 * The whole store as plain objects, for analysis. Tolerant of half-written things; called once a second while a study
 * runs, so files that did not change are not read again and event files only where they grew.
 */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { hasCode } from '../common/errors';
import type { LockHolder } from '../common/file-lock';
import { processIsAlive } from '../common/process-is-alive';
import type { TrialStatus } from '../common/snapshot';
import type { Attempt, AttemptExit, Trial, TrialEvent, TrialResult } from '../common/trial';
import { parseLines } from './files';
import { lockHolder } from './lock';
import { attemptPaths, splitOfPredictions, storePaths, trialPaths } from './paths';
import type { SearchEvent, StoredStudy } from './study-store';

export interface StoreContents {
  folder: string;
  study: StoredStudy | null;
  search: SearchEvent[];
  /** The launcher at work; null when none is. */
  launcher: LockHolder | null;
  /** The study's trials in the order of the plan. */
  trials: StoredTrial[];
  /** How many more trials of earlier versions of the study lie in the store. */
  otherTrials: number;
}

export interface StoredTrial {
  folder: string;
  trial: Trial;
  status: TrialStatus;
  attempts: StoredAttempt[];
  /** All attempts' events in order. */
  events: TrialEvent[];
  result: TrialResult | null;
  predictions: StoredPredictions[];
  /** Changes whenever anything above does. */
  version: string;
}

export interface StoredAttempt {
  number: number;
  folder: string;
  attempt: Attempt | null;
  events: TrialEvent[];
  exit: AttemptExit | null;
  alive: boolean;
}

export interface StoredPredictions {
  split: string;
  file: string;
}

/** Silence after which a worker on another machine counts as dead. */
export const SILENCE_MILLISECONDS = 60_000;
/** A process of the worker's number lives, yet the worker is silent: stuck, or the number is another program's by now. */
export const STUCK_MILLISECONDS = 600_000;

export async function readStore(folder: string): Promise<StoreContents> {
  const files = storePaths(folder);
  const launcher = lockHolder(folder);
  const study = await readCached<StoredStudy>(files.study);
  const present = await list(files.trials);
  const planned = study?.trials ?? present;
  const trials = await Promise.all(planned.map(id => readTrial(files.trial(id), launcher !== null)));
  return {
    folder, study, launcher,
    search: await readGrowing<SearchEvent>(files.search),
    trials: trials.filter(trial => trial !== null),
    otherTrials: present.filter(id => !planned.includes(id)).length,
  };
}

const over = new Map<string, { stamp: string; value: StoredTrial }>();

/**
 * One trial's folder; null where there is no readable trial.json. The attempts of a finished trial whose worker has gone
 * do not change any more and are not looked at again.
 */
export async function readTrial(folder: string, launcherAlive: boolean): Promise<StoredTrial | null> {
  const files = trialPaths(folder);
  const [trial, result, predictions] = await Promise.all([stampOf(files.trial), stampOf(files.result), readPredictionList(files.predictionsFolder)]);
  const stamp = [trial?.text, result?.text, ...predictions.map(p => p.stamp)].join(', ');
  const known = over.get(folder);
  if (result && known?.stamp === stamp) return known.value;
  const value = await readWholeTrial(folder, launcherAlive);
  if (value?.result && value.attempts.every(attempt => !attempt.alive)) over.set(folder, { stamp, value });
  return value;
}

async function readWholeTrial(folder: string, launcherAlive: boolean): Promise<StoredTrial | null> {
  const files = trialPaths(folder);
  const trial = await readCached<Trial>(files.trial);
  if (!trial) return null;
  const result = await readCached<TrialResult>(files.result);
  const numbers = (await list(files.attempts)).map(Number).filter(n => n > 0).sort((a, b) => a - b);
  const attempts = await Promise.all(numbers.map(n => readAttempt(files.attempt(n), n)));
  const predictions = await readPredictionList(files.predictionsFolder);
  const status = trialStatus(result, attempts, launcherAlive);
  return {
    folder, trial, status, attempts, result, predictions: predictions.map(({ split, file }) => ({ split, file })),
    events: attempts.flatMap(a => a.events),
    version: JSON.stringify([status, result?.finished, attempts.map(a => [a.events.length, a.attempt?.started, a.exit?.finished]), predictions.map(p => p.stamp), await stampOf(files.trial)]),
  };
}

function trialStatus(result: TrialResult | null, attempts: StoredAttempt[], launcherAlive: boolean): TrialStatus {
  if (result) return 'finished';
  const last = attempts.at(-1);
  if (!last) return 'queued';
  if (last.exit) return last.exit.outcome === 'failed' ? 'failed' : last.exit.outcome === 'cancelled' ? 'cancelled' : 'interrupted';
  if (last.alive) return 'running';
  return last.attempt || !launcherAlive ? 'interrupted' : 'running'; // its worker is starting
}

async function readAttempt(folder: string, number: number): Promise<StoredAttempt> {
  const files = attemptPaths(folder);
  const [attempt, exit, events, beat] = await Promise.all([
    readCached<Attempt>(files.attempt), readCached<AttemptExit>(files.exit), readGrowing<TrialEvent>(files.events), stampOf(files.heartbeat),
  ]);
  return { number, folder, attempt, events, exit, alive: !exit && attempt !== null && isAlive(attempt, beat?.modified ?? attempt.started) };
}

/** Whether an attempt's process still lives, as far as this machine can tell. */
function isAlive({ pid, host }: Attempt, heartbeat: number): boolean {
  const silence = Date.now() - heartbeat;
  if (host !== os.hostname()) return silence < SILENCE_MILLISECONDS;
  return processIsAlive(pid) && silence < STUCK_MILLISECONDS;
}

async function readPredictionList(folder: string): Promise<(StoredPredictions & { stamp: string })[]> {
  const found = await Promise.all((await list(folder)).sort().map(async name => {
    const split = splitOfPredictions(name);
    const file = path.join(folder, name);
    const stamp = split === null ? null : await stampOf(file);
    return split === null || !stamp ? null : { split, file, stamp: stamp.text };
  }));
  return found.filter(p => p !== null);
}

interface Stamp { size: number; modified: number; text: string }

const parsed = new Map<string, { stamp: string; value: unknown }>();
const grown = new Map<string, { offset: number; modified: number; values: unknown[] }>();

/** A JSON file's value, remembered while its size and time stay; null where it is missing or torn. */
async function readCached<T>(file: string): Promise<T | null> {
  const stamp = await stampOf(file);
  if (!stamp) return null;
  const known = parsed.get(file);
  if (known?.stamp === stamp.text) return known.value as T;
  try {
    const value = JSON.parse(await fs.readFile(file, 'utf8')) as T;
    parsed.set(file, { stamp: stamp.text, value });
    return value;
  } catch {
    return null; // removed meanwhile, or torn by a crash
  }
}

/** The lines of a file that is only appended to; reads what came since the last call. */
async function readGrowing<T>(file: string): Promise<T[]> {
  const stamp = await stampOf(file);
  if (!stamp) return [];
  let known = grown.get(file);
  const wasReplaced = known && (stamp.size < known.offset || (stamp.size === known.offset && stamp.modified !== known.modified));
  if (!known || wasReplaced) known = { offset: 0, modified: 0, values: [] };
  if (stamp.size > known.offset) {
    const text = await readFrom(file, known.offset, stamp.size);
    const complete = text.subarray(0, text.lastIndexOf(0x0a) + 1);
    known = { offset: known.offset + complete.length, modified: stamp.modified, values: [...known.values, ...parseLines(complete.toString('utf8'))] };
  }
  grown.set(file, known);
  return known.values as T[];
}

async function readFrom(file: string, start: number, end: number): Promise<Buffer> {
  const handle = await fs.open(file, 'r');
  try {
    const buffer = Buffer.alloc(end - start);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, start);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function stampOf(file: string): Promise<Stamp | null> {
  try {
    const { size, mtimeMs } = await fs.stat(file);
    return { size, modified: mtimeMs, text: `${size} ${mtimeMs}` };
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EPERM', 'EACCES', 'EBUSY')) return null; // Windows: being replaced
    throw error;
  }
}

async function list(folder: string): Promise<string[]> {
  try {
    return await fs.readdir(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}
