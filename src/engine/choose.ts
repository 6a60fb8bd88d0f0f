/**
 * Choosing an engine by measurement: each is probed in a process of its own (worker/probe.ts) under the executable that
 * will train, must match the reference's gradients, and the fastest wins. The verdict is kept for this machine and
 * version.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { UserError } from '../common/errors';
import { cacheFolder } from '../common/paths';
import { engineEnvironment } from '../common/runtimes';
import { engines } from './engines';
import type { Engine, EngineId, Precision } from './program';

/** What a probe process says. */
export type ProbeOutcome = { gradientError: number; msPerStep: number } | { error: string };

/** A row of `peft-lab doctor`. */
export interface EngineReport {
  id: EngineId;
  /** It ran at all. */
  available: boolean;
  /** Its gradients are the reference's. */
  correct: boolean;
  /** Largest difference of a gradient tensor, as a share of its largest value. */
  gradientError: number | null;
  /** Least time of a training step of the probe's small model. */
  msPerStep: number | null;
  chosen: boolean;
  why: string;
}

export interface ProbeOptions {
  threads: number;
  /** Measure again although a verdict is kept. */
  fresh?: boolean;
}

/** The largest max|difference| / max|gradient| that still counts as correct, f32. */
export const gradientTolerance = 1e-4;
const timeLimit = 120_000;

export async function probeEngines({ threads, fresh = false }: ProbeOptions): Promise<EngineReport[]> {
  const file = verdictFile(threads);
  if (!fresh && fs.existsSync(file)) {
    try {
      return JSON.parse(fs.readFileSync(file, 'utf8')) as EngineReport[];
    } catch { /* a torn file is measured anew */ }
  }
  const reports: EngineReport[] = [];
  for (const id of Object.keys(engines) as EngineId[]) reports.push(judge(id, await probe(id, threads)));
  const verdict = markFastest(reports);
  keep(file, verdict);
  return verdict;
}

export interface ChooseOptions {
  asked: EngineId | 'auto';
  threads: number;
  /** With `auto`, only engines that can compute in it are considered. */
  precision?: Precision | undefined;
}

/** The engine to train on. Throws a UserError when the one asked for does not work here, or none does. */
export async function chooseEngine({ asked, threads, precision = 'f32' }: ChooseOptions): Promise<{ engine: Engine; report: EngineReport[] }> {
  if (asked !== 'auto') return { engine: engines[asked], report: [] };
  const measured = await probeEngines({ threads });
  const report = precision === 'f32' ? measured : markFastest(measured.map(r => withPrecision(r, precision)));
  const chosen = report.find(r => r.chosen);
  if (!chosen) throw new UserError({ what: `no engine works on this machine${precision === 'f32' ? '' : ` in ${precision}`}`, remedy: `Run \`peft-lab doctor\`. ${report.map(r => `${r.id}: ${r.why}`).join('; ')}` });
  return { engine: engines[chosen.id], report };
}

/**
 * Threads to train with: one a core, as far as the operating system lets this process have them. A launcher that runs
 * several trials at a time shares them out by PEFT_LAB_THREADS.
 */
export function defaultThreads(): number {
  const given = Number(process.env['PEFT_LAB_THREADS']);
  return Number.isInteger(given) && given > 0 ? given : Math.max(1, os.availableParallelism());
}

function judge(id: EngineId, outcome: ProbeOutcome): EngineReport {
  if ('error' in outcome) {
    return { id, available: false, correct: false, gradientError: null, msPerStep: null, chosen: false, why: outcome.error.split('\n')[0]! };
  }
  const { gradientError, msPerStep } = outcome;
  const correct = gradientError <= gradientTolerance;
  const why = correct ? `${msPerStep.toFixed(1)} ms a step` : `its gradients are off by ${gradientError.toExponential(1)} of their largest value`;
  return { id, available: true, correct, gradientError, msPerStep, chosen: false, why };
}

/** An engine that cannot compute in the precision asked for is none that works. */
function withPrecision(report: EngineReport, precision: Precision): EngineReport {
  const able = engines[report.id].precisions.includes(precision);
  return able ? { ...report, chosen: false } : { ...report, correct: false, chosen: false, why: `it cannot compute in ${precision}` };
}

function markFastest(reports: EngineReport[]): EngineReport[] {
  const usable = reports.filter(r => r.correct);
  const fastest = usable.reduce<EngineReport | null>((best, r) => (best && best.msPerStep! <= r.msPerStep! ? best : r), null);
  return reports.map(r => (r === fastest ? { ...r, chosen: true, why: `the fastest: ${r.why}` } : r));
}

/** Runs the probe process; it always ends, by itself or at the time limit. */
function probe(id: EngineId, threads: number): Promise<ProbeOutcome> {
  return new Promise(resolve => {
    const child = spawn(process.execPath, [probeScript(), id, String(threads)], { stdio: ['ignore', 'pipe', 'pipe'], env: engineEnvironment() });
    let [output, complaints] = ['', ''];
    const timer = setTimeout(() => child.kill('SIGKILL'), timeLimit);
    child.stdout.on('data', chunk => (output += chunk));
    child.stderr.on('data', chunk => (complaints += chunk));
    child.on('error', error => resolve({ error: error.message }));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve(parseOutcome(output) ?? { error: `the probe ended with ${signal ?? `code ${code}`}${complaints ? `: ${complaints.trim().split('\n').at(-1)}` : ''}` });
    });
  });
}

/** The last line that is an outcome: native libraries may write to standard output too. */
function parseOutcome(output: string): ProbeOutcome | null {
  for (const line of output.trim().split('\n').reverse()) {
    if (!line.startsWith('{')) continue;
    try {
      return JSON.parse(line) as ProbeOutcome;
    } catch { /* not ours */ }
  }
  return null;
}

function probeScript(): string {
  const candidates = [path.join(__dirname, 'probe.cjs'), path.resolve('dist/probe.cjs')];
  const script = candidates.find(f => fs.existsSync(f));
  if (!script) throw new UserError({ what: 'the engine probe is missing', where: candidates[0], remedy: 'Run `npm run build`.' });
  return script;
}

/** One file for each machine, executable, build of the probe and number of threads. */
function verdictFile(threads: number): string {
  const script = fs.statSync(probeScript());
  const key = [os.hostname(), os.cpus()[0]?.model, process.platform, process.arch, process.version, process.execPath, script.size, script.mtimeMs, threads].join('|');
  return path.join(cacheFolder(), 'engines', `${createHash('sha256').update(key).digest('hex').slice(0, 16)}.json`);
}

/** A verdict that cannot be kept is measured again next time. */
function keep(file: string, verdict: EngineReport[]): void {
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(`${file}.${process.pid}`, JSON.stringify(verdict, null, 2));
    fs.renameSync(`${file}.${process.pid}`, file);
  } catch { /* a read-only cache folder is no reason to fail */ }
}
