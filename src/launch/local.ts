/** Trials as processes of this machine: one worker a trial, its output in the attempt's log. */
import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { processIsAlive } from '../common/process-is-alive';
import { engineEnvironment } from '../common/runtimes';
import type { Attempt } from '../common/trial';
import { readJson, writeJson, writing } from '../store/files';
import { attemptPaths, trialPaths } from '../store/paths';
import { SILENCE_MILLISECONDS, STUCK_MILLISECONDS } from '../store/read';
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
  /** How long a worker that is asked to end may take for it: the rest of a step and a checkpoint. */
  cancelMilliseconds?: number;
}

const CHECK_MILLISECONDS = 2000;

export function localLauncher({
  worker, executable = process.execPath, threads, stuckMilliseconds = STUCK_MILLISECONDS, cancelMilliseconds = 300_000,
}: LocalOptions): Launcher {
  const patience = { stuckTicks: Math.ceil(stuckMilliseconds / CHECK_MILLISECONDS), cancelMilliseconds };
  return {
    start(trialFolder, { avoid = [] } = {}) {
      const left = runningAttempt(trialFolder);
      const running = left ? join(left) : spawnWorker(trialFolder, { worker, executable, threads, avoid });
      return watch(trialFolder, running, patience);
    },
  };
}

/** The process of a trial's attempt. */
interface WorkerProcess {
  attempt: number;
  end: Promise<ProcessEnd>;
  signal(signal: NodeJS.Signals): void;
}

interface SpawnOptions { worker: string; executable: string; threads: number | undefined; avoid: readonly string[] }

function spawnWorker(trialFolder: string, { worker, executable, threads, avoid }: SpawnOptions): WorkerProcess {
  const { attempts } = trialPaths(trialFolder);
  const attempt = nextAttempt(attempts);
  const files = attemptPaths(trialPaths(trialFolder).attempt(attempt));
  clearCancelRequest(trialFolder);
  const log = openLog(files.log);
  try {
    const child = spawn(executable, [worker, trialFolder], {
      stdio: ['ignore', log, log], windowsHide: true,
      env: { ...engineEnvironment(), ...threads !== undefined && { PEFT_LAB_THREADS: String(threads) }, PEFT_LAB_AVOID_ENGINES: avoid.join(',') },
      detached: process.platform !== 'win32', // a group of its own: Ctrl-C reaches it through cancel() alone
    });
    // A hint for a later launcher: without it, the worker is still watched.
    try { if (child.pid !== undefined) writeJson(files.started, { pid: child.pid, host: os.hostname() }); } catch { /* see above */ }
    return { attempt, end: childEnd(child), signal: signal => child.kill(signal) };
  } finally {
    fs.closeSync(log);
  }
}

function openLog(file: string): number {
  return writing(file, () => {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    return fs.openSync(file, 'a');
  });
}

/** A worker that outlived its launcher: its end is seen by asking the system. */
function join({ attempt, pid }: { attempt: number; pid: number }): WorkerProcess {
  return { attempt, end: processEnd(pid), signal: signal => process.kill(pid, signal) };
}

interface Patience { stuckTicks: number; cancelMilliseconds: number }

function watch(trialFolder: string, { attempt, end, signal }: WorkerProcess, { stuckTicks, cancelMilliseconds }: Patience): RunningTrial {
  const { heartbeat } = attemptPaths(trialPaths(trialFolder).attempt(attempt));
  let killed: ProcessEnd['killed'];
  const kill = (why: 'asked' | 'stuck') => {
    killed ??= why;
    // It may be gone by now; its end is on the way then.
    try { signal('SIGKILL'); } catch { /* see above */ }
  };
  const stopListening = onSilence(heartbeat, { ticks: stuckTicks, act: () => kill('stuck') });
  let lastResort: NodeJS.Timeout | undefined;
  const stop = () => {
    stopListening();
    clearTimeout(lastResort);
  };
  return {
    ended: end.finally(stop).then(how => trialOutcome({ trialFolder, attempt, end: { ...how, ...killed && { killed } } })),
    cancel() {
      requestCancel(trialFolder);
      lastResort ??= setTimeout(() => kill('asked'), cancelMilliseconds);
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
  // After a silence, the process number may be another program's by now.
  const isFresh = Math.min(millisecondsSince(own.heartbeat), millisecondsSince(own.started)) < SILENCE_MILLISECONDS;
  return isFresh && processIsAlive(worker.pid) ? { attempt, pid: worker.pid } : null;
}

function millisecondsSince(file: string): number {
  return Date.now() - (fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? -Infinity);
}
