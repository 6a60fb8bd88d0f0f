/** The store as the launcher writes it: study.json, search.jsonl, samples and each trial's trial.json. */
import fs from 'node:fs';
import path from 'node:path';
import type { Study } from '../common/study';
import type { Sample, Trial, TrialResult } from '../common/trial';
import { appendLine, readJson, readLines, writeAtomic, writeJson } from './files';
import { storePaths, trialPaths } from './paths';

/** study.json: what was asked for, and the trials that it came to, in the order of the plan. */
export interface StoredStudy {
  name: string;
  /** Absolute path of the study file. */
  file: string;
  study: Study;
  trials: string[];
  dataSets: StoredDataSet[];
  warnings: string[];
  environment: Record<string, string>;
  /** Commit of the repository that the study file lies in. */
  gitCommit: string | null;
  updated: number;
}

export interface StoredDataSet {
  name: string;
  root: string;
  fingerprint: string;
  classes: string[];
  /** Samples per class by split. */
  classCounts: Record<string, number[]>;
}

/** One line of search.jsonl. `search` names one search: its data set, method, ranges and algorithm. */
export type SearchEvent =
  | { type: 'ask'; time: number; search: string; number: number; assignment: Record<string, number | string | boolean>; trials: string[] }
  | { type: 'tell'; time: number; search: string; number: number; value: number | null };

export interface StudyStore {
  folder: string;
  writeStudy(study: StoredStudy): void;
  writeSamples(fingerprint: string, samples: readonly Sample[]): void;
  /** Returns the trial's folder. A trial that is there already keeps its results, and gets its new names and paths. */
  writeTrial(trial: Trial): string;
  appendSearch(event: SearchEvent): void;
  readSearch(): SearchEvent[];
  isFinished(trialId: string): boolean;
  /** Null while the trial is not finished. */
  readResult(trialId: string): TrialResult | null;
}

export function openStudyStore(folder: string): StudyStore {
  const files = storePaths(folder);
  return {
    folder,
    writeStudy: study => writeJson(files.study, study),
    writeSamples(fingerprint, samples) {
      const file = files.samples(fingerprint); // its name is the hash of its contents: what is there is right
      if (!fs.existsSync(file)) writeAtomic(file, samples.map(sample => `${JSON.stringify(sample)}\n`).join(''));
    },
    writeTrial(trial) {
      const trialFolder = files.trial(trial.id);
      const file = trialPaths(trialFolder).trial;
      if (JSON.stringify(readJson(file)) !== JSON.stringify(trial)) writeJson(file, trial);
      return trialFolder;
    },
    appendSearch: event => appendLine(files.search, event),
    readSearch: () => readLines(files.search) as SearchEvent[],
    readResult: id => readJson(trialPaths(files.trial(id)).result) as TrialResult | null,
    isFinished: id => fs.existsSync(trialPaths(files.trial(id)).result),
  };
}

/** study.json of a store; null where no study was run there. */
export function readStoredStudy(folder: string): StoredStudy | null {
  return readJson(storePaths(folder).study) as StoredStudy | null;
}

/** Ids of all trials in the store, those of earlier versions of the study included. */
export function listTrials(folder: string): string[] {
  const { trials } = storePaths(folder);
  if (!fs.existsSync(trials)) return [];
  return fs.readdirSync(trials).filter(id => fs.existsSync(path.join(trials, id, 'trial.json'))).sort();
}
