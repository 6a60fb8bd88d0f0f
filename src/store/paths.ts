/** Every file name of the store, in one place. */
import path from 'node:path';
import { parse } from 'jsonc-parser';

/** Files of a store: the folder `<study>.peft`. */
export function storePaths(store: string) {
  return {
    study: path.join(store, 'study.json'),
    search: path.join(store, 'search.jsonl'),
    lock: path.join(store, 'lock'),
    /** Output of a launcher that runs detached. */
    log: path.join(store, 'run.log'),
    /** What a launcher is preparing, in words; only while it does. */
    preparing: path.join(store, 'preparing.txt'),
    report: path.join(store, 'report.html'),
    trials: path.join(store, 'trials'),
    trial: (id: string) => path.join(store, 'trials', id),
    samples: (fingerprint: string) => path.join(store, 'samples', `${fingerprint}.jsonl`),
  };
}

/** Files of one trial: `<store>/trials/<id>`. */
export function trialPaths(folder: string) {
  return {
    /** The store that the trial lies in. */
    store: path.dirname(path.dirname(folder)),
    trial: path.join(folder, 'trial.json'),
    attempts: path.join(folder, 'attempts'),
    attempt: (number: number) => path.join(folder, 'attempts', String(number)),
    checkpoint: path.join(folder, 'checkpoint.safetensors'),
    adapter: path.join(folder, 'adapter'),
    predictionsFolder: path.join(folder, 'predictions'),
    /** The names of extra test sets' splits are no file names. */
    predictions: (split: string) => path.join(folder, 'predictions', `${encodeURIComponent(split)}.safetensors`),
    result: path.join(folder, 'result.json'),
  };
}

/** The split that a predictions file holds; null for anything else in that folder. */
export function splitOfPredictions(fileName: string): string | null {
  const ending = '.safetensors';
  return fileName.endsWith(ending) ? decodeURIComponent(fileName.slice(0, -ending.length)) : null;
}

/** Files of one attempt: `<trial>/attempts/<n>`. */
export function attemptPaths(folder: string) {
  return {
    attempt: path.join(folder, 'attempt.json'),
    /** Which process the launcher started; the worker itself says so in attempt.json, but only once it has an engine. */
    started: path.join(folder, 'started.json'),
    events: path.join(folder, 'events.jsonl'),
    heartbeat: path.join(folder, 'heartbeat'),
    log: path.join(folder, 'log'),
    exit: path.join(folder, 'exit.json'),
  };
}

/** The store of a study file: `<name>.peft` beside it, or where the study says. */
export function storeFolder(studyFile: string, output?: string): string {
  const folder = path.dirname(path.resolve(studyFile));
  if (output !== undefined) return path.resolve(folder, output);
  return path.join(folder, `${studyName(studyFile)}.peft`);
}

/** The same from the study file's text, which need not be a valid study: "output" is taken as far as it can be read. */
export function storeFolderFromText(studyFile: string, text: string): string {
  const study = parse(text, [], { allowTrailingComma: true }) as { output?: unknown } | undefined;
  return storeFolder(studyFile, typeof study?.output === 'string' ? study.output : undefined);
}

/** `flowers` for `/data/flowers.peft.json`. */
export function studyName(studyFile: string): string {
  return path.basename(studyFile).replace(/(\.peft)?\.jsonc?$/i, '');
}
