/** Trials as processes of this machine: one worker a trial, its output in the attempt's log. */
import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { engineEnvironment } from '../common/runtimes';
import type { Attempt } from '../common/trial';
import { readJson, writeJson } from '../store/files';
import { processIsAlive } from '../store/lock';
import { attemptPaths, trialPaths } from '../store/paths';
import { clearCancelRequest, requestCancel } from '../store/requests';
import { attemptNumbers, nextAttempt } from '../store/trial-store';
import type { Launcher, RunningTrial } from './launcher';
import { trialOutcome, type ProcessEnd } from './outcome';

export interface LocalOptions {
  /** The worker's script, dist/worker.cjs. */
  worker: string;
  /** Node.js, or an editor's executable with ELECTRON_RUN_AS_NODE=1 in the environment. */
  executable?: string;
  /** Threads that a worker computes with unless its checkpoint says otherwise; what it chooses itself when absent. */
  threads?: number;
  /** Silence after which a worker counts as stuck. */
  stuckMilliseconds?: number;
}

const CHECK_MILLISECONDS = 2000;

export function localLauncher({ worker, executable = process.execPath, threads, stuckMilliseconds = 600_000 }: LocalOptions): Launcher {
  return {
    start(trialFolder, { avoid = [] } = {}) {
      const stuckTicks = Math.ceil(stuckMilliseconds / CHECK_MILLISECONDS);
      const left = runningAttempt(trialFolder);
      return left ? join(trialFolder, { ...left, stuckTicks }) : spawnWorker(trialFolder, { worker, executable, threads, stuckTicks, avoid });
    },
  };
}

interface WorkerOptions { worker: string; executable: string; threads: number | undefined; stuckTicks: number; avoid: readonly string[] }

function spawnWorker(trialFolder: string, { worker, executable, threads, stuckTicks, avoid }: WorkerOptions): RunningTrial {
  const { attempts } = trialPaths(trialFolder);
  const attempt = nextAttempt(attempts);
  const files = attemptPaths(trialPaths(trialFolder).attempt(attempt));
  fs.mkdirSync(path.dirname(files.log), { recursive: true });
  clearCancelRequest(trialFolder);
  const log = fs.openSync(files.log, 'a');
  const child = spawn(executable, [worker, trialFolder], {
    stdio: ['ignore', log, log], windowsHide: true,
    env: { ...engineEnvironment(), ...threads !== undefined && { PEFT_LAB_THREADS: String(threads) }, PEFT_LAB_AVOID_ENGINES: avoid.join(',') },
    detached: process.platform !== 'win32', // a group of its own: Ctrl-C reaches it through cancel() alone
  });
  fs.closeSync(log);
  if (child.pid !== undefined) writeJson(files.started, { pid: child.pid, host: os.hostname() });
  return watch(trialFolder, { attempt, heartbeat: files.heartbeat, stuckTicks, end: childEnd(child), signal: signal => child.kill(signal) });
}

/** A worker that outlived its launcher: its end is seen by asking the system. */
function join(trialFolder: string, { attempt, pid, stuckTicks }: { attempt: number; pid: number; stuckTicks: number }): RunningTrial {
  const { heartbeat } = attemptPaths(trialPaths(trialFolder).attempt(attempt));
  return watch(trialFolder, { attempt, heartbeat, stuckTicks, end: processEnd(pid), signal: signal => process.kill(pid, signal) });
}

interface Watched {
  attempt: number;
  heartbeat: string;
  stuckTicks: number;
  end: Promise<ProcessEnd>;
  signal(signal: NodeJS.Signals): void;
}

function watch(trialFolder: string, { attempt, heartbeat, stuckTicks, end, signal }: Watched): RunningTrial {
  let killed: ProcessEnd['killed'];
  const kill = (why: 'asked' | 'stuck') => {
    killed ??= why;
    // It may be gone by now; its end is on the way then.
    try { signal('SIGKILL'); } catch { /* see above */ }
  };
  const stop = onSilence(heartbeat, { ticks: stuckTicks, act: () => kill('stuck') });
  return {
    ended: end.finally(stop).then(how => trialOutcome({ trialFolder, attempt, end: { ...how, ...killed && { killed } } })),
    cancel() {
      requestCancel(trialFolder);
      if (process.platform === 'win32') return; // has no signal that can be answered
      try { signal('SIGTERM'); } catch { /* gone by now */ }
    },
    kill: () => kill('asked'),
  };
}

/** Counts ticks of this process rather than time, so that a machine that slept does not look like a stuck worker. */
function onSilence(heartbeat: string, { ticks, act }: { ticks: number; act: () => void }): () => void {
  let last: number | undefined;
  let silent = 0;
  const timer = setInterval(() => {
    const beat = fs.statSync(heartbeat, { throwIfNoEntry: false })?.mtimeMs;
    silent = beat === last ? silent + 1 : 0;
    last = beat;
    if (silent >= ticks) act();
  }, CHECK_MILLISECONDS);
  timer.unref();
  return () => clearInterval(timer);
}

function childEnd(child: ChildProcess): Promise<ProcessEnd> {
  return new Promise(resolve => {
    child.once('error', error => resolve({ code: null, signal: null, error }));
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
}

async function processEnd(pid: number): Promise<ProcessEnd> {
  while (processIsAlive(pid)) await new Promise(resolve => setTimeout(resolve, 500));
  return { code: null, signal: null };
}

/** The last attempt, if its process is alive on this machine and it has not ended. */
function runningAttempt(trialFolder: string): { attempt: number; pid: number } | null {
  const files = trialPaths(trialFolder);
  const attempt = attemptNumbers(files.attempts).at(-1);
  if (attempt === undefined) return null;
  const own = attemptPaths(files.attempt(attempt));
  const worker = (readJson(own.attempt) ?? readJson(own.started)) as Pick<Attempt, 'pid' | 'host'> | null;
  if (!worker || fs.existsSync(own.exit) || worker.host !== os.hostname()) return null;
  // After a silence, the process number may be another program's by now. Before its first beat a worker probes engines.
  const isFresh = secondsSince(own.heartbeat) < 60 || (!fs.existsSync(own.attempt) && secondsSince(own.started) < 600);
  return isFresh && processIsAlive(worker.pid) ? { attempt, pid: worker.pid } : null;
}

function secondsSince(file: string): number {
  const modified = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
  return modified === undefined ? Infinity : (Date.now() - modified) / 1000;
}
