/** The launcher: lock, prepare, plan, run what is not finished, show the results. What `run` and `demo` share. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { version } from '../../package.json';
import { labelTrials } from '../analysis/labels';
import { buildSnapshot } from '../analysis/snapshot';
import type { Snapshot } from '../common/snapshot';
import { describeError } from '../common/errors';
import { counted, duration, percentDigits } from '../common/format';
import type { Lock } from '../common/file-lock';
import type { TrialResult } from '../common/trial';
import type { TrialOutcome } from '../launch/launcher';
import { localLauncher } from '../launch/local';
import { runTrials } from '../launch/run-trials';
import { acquireLock } from '../store/lock';
import { storePaths } from '../store/paths';
import { clearCancelRequest } from '../store/requests';
import { openStudyStore, type StudyStore } from '../store/study-store';
import type { ExitCode } from './command';
import type { LoadedStudy } from './load-study';
import type { Output } from './output';
import { prepareStudy, type PreparedStudy } from './prepare';
import { tellPreparing } from './preparing';
import { watchProgress, type ProgressWatch } from './progress';
import { resultTable } from './result-table';
import { recordSearch } from './search-record';
import { rememberSpeed } from './speed';
import { listenForStop, type Stop } from './stop';

export interface RunStudyOptions {
  loaded: LoadedStudy;
  /** Trials at a time. */
  jobs: number;
  output: Output;
}

/** A UserError where the study cannot begin; a failing trial is an exit code. */
export async function runStudy({ loaded, jobs, output }: RunStudyOptions): Promise<ExitCode> {
  const lock = acquireLock(loaded.store);
  const preparing = tellPreparing(loaded.store);
  const progress = watchProgress({ store: loaded.store, stream: process.stderr, jobs });
  const stop = listenForStop({ store: loaded.store, lock, say: progress.say });
  clearCancelRequest(loaded.store, Date.now() - process.uptime() * 1000);
  try {
    const prepared = await unlessStopped(prepareStudy(loaded, text => {
      progress.show(text);
      preparing.say(text);
    }), stop);
    preparing.end();
    if (!prepared) {
      output.document({ cancelled: true });
      return 130;
    }
    progress.show('');
    const store = recordPlan(loaded, prepared);
    await measureEngines({ prepared, store, jobs, stop, progress });
    const outcomes = await runOpenTrials({ prepared, store, jobs, stop, progress });
    recordSearch(store, prepared);
    await rememberSpeed(loaded.store);
    await progress.stop();
    return await conclude({ loaded, output, isCancelled: stop.cancel.aborted, outcomes });
  } finally {
    await progress.stop();
    stop.dispose();
    preparing.end();
    clearCancelRequest(loaded.store);
    release(lock);
  }
}

/** Null when the user stopped it first: reading images holds nothing that would need a checkpoint. */
async function unlessStopped<T>(work: Promise<T>, { cancel }: Stop): Promise<T | null> {
  let onAbort = () => { /* set below */ };
  const stopped = new Promise<null>(resolve => {
    onAbort = () => resolve(null);
    cancel.addEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([work, stopped]);
  } finally {
    cancel.removeEventListener('abort', onAbort);
    work.catch(() => undefined); // nobody waits for it any more
  }
}

function recordPlan(loaded: LoadedStudy, prepared: PreparedStudy): StudyStore {
  const store = openStudyStore(loaded.store);
  for (const { dataSet, samples } of prepared.dataSets) store.writeSamples(dataSet.fingerprint, samples);
  for (const trial of prepared.trials) store.writeTrial(trial);
  store.writeStudy({
    name: loaded.name, file: loaded.file, study: loaded.study, trials: prepared.trials.map(t => t.id),
    dataSets: prepared.dataSets.map(({ dataSet: { name, root, fingerprint, classes }, classCounts }) => ({ name, root, fingerprint, classes, classCounts })),
    warnings: prepared.warnings, environment: describeEnvironment(), gitCommit: gitCommit(loaded.folder), updated: Date.now(),
  });
  recordSearch(store, prepared);
  return store;
}

interface RunOpenOptions { prepared: PreparedStudy; store: StudyStore; jobs: number; stop: Stop; progress: ProgressWatch }

/** Once, before several workers would do it at the same time; a worker finds the verdict, or measures for itself. */
async function measureEngines({ prepared, store, jobs, stop, progress }: RunOpenOptions): Promise<void> {
  const open = prepared.trials.filter(({ id, engine }) => engine === 'auto' && !store.isFinished(id));
  const [first] = open;
  if (!first) return;
  const { probeEngines } = await import('../engine/choose');
  for (const precision of new Set(open.map(trial => trial.recipe.precision))) {
    await probeEngines({
      threads: threadsOf(jobs), architecture: first.backbone.architecture, precision, cancel: stop.cancel,
      onEngine: id => progress.show(`Measuring which engine is the fastest: ${id}`),
    });
  }
  progress.show('');
}

/** Threads of each of so many workers. */
function threadsOf(jobs: number): number {
  return Math.max(1, Math.floor(os.availableParallelism() / jobs));
}

async function runOpenTrials({ prepared, store, jobs, stop, progress }: RunOpenOptions): Promise<Map<string, TrialOutcome>> {
  const { trials, warnings, facts } = prepared;
  const labels = labelTrials(trials);
  const open = trials.filter(trial => !store.isFinished(trial.id));
  [...facts.backbone.warnings, ...warnings].forEach(warning => progress.say(`Warning: ${warning}`));
  progress.say(open.length < trials.length ? `${trials.length - open.length} of ${trials.length} trials are finished already; ${open.length} to do.` : `${counted(trials.length, 'trial')}.`);
  if (open.length) await progress.start();
  return runTrials({
    trials: open, jobs, cancel: stop.cancel, kill: stop.kill,
    launcher: localLauncher({ worker: workerScript(), threads: threadsOf(jobs) }),
    folderOf: trial => storePaths(store.folder).trial(trial.id),
    onEngineFailure: (trial, { engine, message }) => progress.say(`Warning: ${labels.get(trial.id)!} on ${trial.data.name}: the engine ${engine} failed, another one goes on. ${message.split('\n')[0]!}`),
    onEnd: async (trial, outcome) => {
      await progress.look(); // its last epoch comes before its end
      progress.say(`[${trials.indexOf(trial) + 1}/${trials.length}] ${labels.get(trial.id)!} on ${trial.data.name} ${describeOutcome(outcome, store.readResult(trial.id))}`);
    },
  });
}

function describeOutcome(outcome: TrialOutcome, result: TrialResult | null): string {
  if (outcome.kind === 'failed') return `failed: ${outcome.message}`;
  if (outcome.kind === 'cancelled' || !result) return outcome.kind;
  const scores = (['validation', 'test'] as const).flatMap(split => result.last[split] ? [`${split} ${percentDigits(result.last[split].top1)} %`] : []);
  return ['finished', [...scores, duration(result.trainSeconds)].join(', ')].join(': ');
}

interface ConcludeOptions { loaded: LoadedStudy; output: Output; isCancelled: boolean; outcomes: Map<string, TrialOutcome> }

async function conclude({ loaded, output, isCancelled, outcomes }: ConcludeOptions): Promise<ExitCode> {
  const snapshot = { ...await buildSnapshot(loaded.store), running: false };
  const report = await writeReport(snapshot, output);
  output.print(resultTable(snapshot));
  output.print(`\nResults: ${loaded.store}${report ? `\nReport:  ${report}` : ''}`);
  output.document(runDocument(snapshot, { report, isCancelled }));
  // A request that comes when everything is done cancels nothing.
  const wasCut = isCancelled && snapshot.progress.finished + snapshot.progress.failed < snapshot.progress.total;
  if (wasCut) return 130;
  return [...outcomes.values()].some(o => o.kind !== 'finished') ? 1 : 0;
}

/** The page's file; null where there is nothing to report yet. A page that cannot be made does not undo the run. */
async function writeReport(snapshot: Snapshot, output: Output): Promise<string | null> {
  if (!snapshot.trials.some(t => t.status === 'finished')) return null;
  const file = storePaths(snapshot.study.store).report;
  try {
    await (await import('./report-page')).writeReportPage(snapshot, file);
    return file;
  } catch (error) {
    output.say(`Warning: the report page could not be written: ${describeError(error)}`);
    return null;
  }
}

function runDocument({ study, progress, trials }: Snapshot, { report, isCancelled }: { report: string | null; isCancelled: boolean }) {
  return {
    study: study.name, file: study.file, store: study.store, report, cancelled: isCancelled,
    total: progress.total, finished: progress.finished, failed: progress.failed,
    trials: trials.map(({ lossCurve: _l, accuracyCurve: _a, confusion: _c, ...trial }) => trial),
  };
}

/** Beside this bundle. */
function workerScript(): string {
  return path.join(__dirname, 'worker.cjs');
}

function release(lock: Lock): void {
  // What ends a run must not hide how it went.
  try { lock.release(); } catch { /* the next launcher sees that this process is gone */ }
}

function describeEnvironment(): Record<string, string> {
  return {
    peftLab: version, node: process.version, system: `${process.platform} ${os.release()} ${process.arch}`, host: os.hostname(),
    processor: os.cpus()[0]?.model.trim() ?? 'unknown', cores: String(os.availableParallelism()), memoryGiB: (os.totalmem() / 2 ** 30).toFixed(1),
  };
}

/** Of the repository that the study lies in; null where there is none, or no git. */
function gitCommit(folder: string): string | null {
  if (!fs.existsSync(folder)) return null;
  const { status, stdout } = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: folder, encoding: 'utf8', timeout: 5000, windowsHide: true });
  return status === 0 ? stdout.trim() : null;
}
