/** The store as one trial's worker sees it: it reads trial.json and writes everything else in the trial's folder. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { EngineId } from '../common/engines';
import { UserError } from '../common/errors';
import type { Attempt, AttemptExit, Sample, Trial, TrialEvent, TrialResult } from '../common/trial';
import { appendLine, readJson, readLines, writeJson } from './files';
import { attemptPaths, storePaths, trialPaths } from './paths';
import { writePredictions } from './predictions';

export interface OpenTrial {
  trial: Trial;
  folder: string;
  /** All samples of the trial's data set, in the data set's order. */
  samples(): Promise<Sample[]>;
  /** Where the checkpoint lies, or will. */
  latestCheckpoint: string;
  adapterFolder: string;
  openAttempt(info: Omit<Attempt, 'number' | 'started' | 'pid' | 'host'>): AttemptWriter;
  /** Logits [samples, classes], row-major, for `samples` in their order. */
  writePredictions(split: string, content: { logits: Float32Array; samples: readonly Sample[] }): Promise<void>;
  /** Marks the trial as finished: call it last. */
  writeResult(result: TrialResult): void;
}

export interface AttemptWriter {
  folder: string;
  number: number;
  event(event: TrialEvent): void;
  exit(exit: AttemptExit): void;
}

export function openTrial(folder: string): OpenTrial {
  const files = trialPaths(path.resolve(folder));
  const trial = readJson(files.trial) as Trial | null;
  if (!trial) throw new UserError({ what: 'there is no trial.json', where: folder, remedy: 'Give the folder of a trial: <study>.peft/trials/<id>.' });
  let samples: Promise<Sample[]> | undefined;
  const readSamples = () => samples ??= Promise.resolve().then(() => readSampleFile(files.store, trial.data.fingerprint));
  return {
    trial,
    folder: path.resolve(folder),
    samples: readSamples,
    latestCheckpoint: files.checkpoint,
    adapterFolder: files.adapter,
    openAttempt: info => openAttempt(files.attempts, info),
    async writePredictions(split, { logits, samples }) {
      await writePredictions({
        file: files.predictions(split), fingerprint: trial.data.fingerprint, classes: trial.data.classes.length,
        logits, samples, all: await readSamples(),
      });
    },
    writeResult: result => writeJson(files.result, result),
  };
}

/** The number of a trial's next attempt: that of a folder which a launcher prepared and no worker took, or a new one. */
export function nextAttempt(attempts: string): number {
  const last = Math.max(0, ...attemptNumbers(attempts));
  const files = attemptPaths(path.join(attempts, String(last)));
  const isTaken = last === 0 || fs.existsSync(files.attempt) || fs.existsSync(files.exit);
  return isTaken ? last + 1 : last;
}

/** Ascending. */
export function attemptNumbers(attempts: string): number[] {
  if (!fs.existsSync(attempts)) return [];
  return fs.readdirSync(attempts).map(Number).filter(n => Number.isInteger(n) && n > 0).sort((a, b) => a - b);
}

export interface EngineFailureRecord {
  engine: EngineId;
  /** The first line of what was said. */
  why: string;
}

/** The engines that failed in this trial, by what its attempts' exits say; of each the last failure. */
export function engineFailures(trialFolder: string): Map<EngineId, EngineFailureRecord> {
  const { attempts, attempt } = trialPaths(trialFolder);
  const exits = attemptNumbers(attempts).map(number => readJson(attemptPaths(attempt(number)).exit) as AttemptExit | null);
  return new Map(exits.flatMap(exit => exit?.engineFailed ? [[exit.engineFailed, { engine: exit.engineFailed, why: (exit.error ?? 'it ended without a word').split('\n')[0]! }]] : []));
}

/** samples/<fingerprint>.jsonl of a store. */
export function readSampleFile(store: string, fingerprint: string): Sample[] {
  return readLines(storePaths(store).samples(fingerprint)) as Sample[];
}

function openAttempt(attempts: string, info: Omit<Attempt, 'number' | 'started' | 'pid' | 'host'>): AttemptWriter {
  const number = nextAttempt(attempts);
  const folder = path.join(attempts, String(number));
  const files = attemptPaths(folder);
  const attempt: Attempt = { number, started: Date.now(), pid: process.pid, host: os.hostname(), ...info };
  writeJson(files.attempt, attempt);
  return {
    folder, number,
    event: event => appendLine(files.events, event),
    exit: exit => writeJson(files.exit, exit),
  };
}
