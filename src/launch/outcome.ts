/** How a trial ended, from what its worker left behind and how the process went. */
import fs from 'node:fs';
import { engineIds } from '../common/engines';
import type { Attempt, AttemptExit } from '../common/trial';
import { readJson, readTextIfThere, writeJson } from '../store/files';
import { attemptPaths, trialPaths } from '../store/paths';
import type { TrialOutcome } from './launcher';

/** How a process ended: by itself, by a signal, or unknown for one that is not our child. */
export interface ProcessEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The launcher killed it, as the user asked or because it was stuck. */
  killed?: 'asked' | 'stuck';
  /** It could not even be started. */
  error?: Error;
}

/** Reads the outcome; where the worker died without a word, writes exit.json in its stead so that every reader knows. */
export function trialOutcome({ trialFolder, attempt, end }: { trialFolder: string; attempt: number; end: ProcessEnd }): TrialOutcome {
  const files = trialPaths(trialFolder);
  if (fs.existsSync(files.result)) return { kind: 'finished' };
  const attemptFiles = attemptPaths(files.attempt(attempt));
  const exit = readJson(attemptFiles.exit) as AttemptExit | null ?? obituary({ log: attemptFiles.log, attempt: readJson(attemptFiles.attempt) as Attempt | null }, end);
  // A full disk must not hide how the trial ended.
  try { if (!fs.existsSync(attemptFiles.exit)) writeJson(attemptFiles.exit, exit); } catch { /* see above */ }
  if (exit.outcome === 'cancelled') return { kind: 'cancelled' };
  return { kind: 'failed', message: exit.error ?? 'the worker ended without a result', ...exit.engineFailed && { engineFailed: exit.engineFailed } };
}

function obituary({ log, attempt }: { log: string; attempt: Attempt | null }, end: ProcessEnd): AttemptExit {
  if (end.killed === 'asked') return { finished: Date.now(), outcome: 'cancelled' };
  const tail = lastLines(readTextIfThere(log) ?? '', 15);
  const parts = [causeOfDeath(end), tail && `The last lines of its log (${log}):\n${tail}`];
  const engineFailed = attempt && isCrash(end) ? engineIds.find(id => id === attempt.engine) : undefined;
  return { finished: Date.now(), outcome: 'failed', error: parts.filter(Boolean).join('\n'), errorIsUserError: true, ...engineFailed && { engineFailed } };
}

/** What native code does to its process, and nobody from outside: signals of a fault, Windows' exception codes, silence. */
function isCrash({ code, signal, killed }: ProcessEnd): boolean {
  return killed === 'stuck' || (signal !== null && faults.includes(signal)) || (code !== null && (code >>> 0) >= 0xc0000000);
}

const faults: readonly string[] = ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT', 'SIGTRAP', 'SIGSYS'];

function causeOfDeath({ code, signal, killed, error }: ProcessEnd): string {
  if (error) return `the training process could not be started: ${error.message}\n  Check the setting peftLab.nodePath and that PEFT Lab is installed completely.`;
  if (killed === 'stuck') return 'the training process gave no sign of life for a long time and was ended\n  Run the study again: it goes on from the last checkpoint. If it happens again, choose another "engine".';
  if (signal === 'SIGKILL') return 'the training process was killed by the system, most likely for want of memory\n  Close other programs, or choose a smaller recipe.batchSize; then run again: it goes on from the last checkpoint.';
  if (signal) return `the training process crashed (${signal})\n  Run the study again: it goes on from the last checkpoint. If it happens again, choose another "engine".`;
  if (code !== null) return `the training process ended early with exit code ${code > 0xffff ? `0x${code.toString(16)}` : code}\n  Run the study again: it goes on from the last checkpoint.`;
  return 'the training process disappeared\n  Run the study again: it goes on from the last checkpoint.';
}

function lastLines(text: string, count: number): string {
  return text.trimEnd().split('\n').slice(-count).join('\n').slice(-4000);
}
