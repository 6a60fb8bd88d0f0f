/**
 * Choosing an engine by measurement: each is probed in a process of its own under the executable that will train, with
 * the shape of the study's backbone; it must match the reference's gradients, and the fastest wins. The verdict is kept
 * for this machine, executable, version, installed runtimes, shape and precision.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { UserError } from '../common/errors';
import { cacheFolder } from '../common/paths';
import { installedRuntimes } from '../common/runtimes';
import type { Architecture } from '../common/trial';
import { engines } from './engines';
import { builtKernels } from './native/sources';
import { askProbe, probeScript, type ProbeOutcome } from './probe-process';
import type { Engine, EngineId, Precision } from './program';

/** A row of `peft-lab doctor`. */
export interface EngineReport {
  id: EngineId;
  /** It ran at all. */
  available: boolean;
  /** Its gradients are the reference's. */
  correct: boolean;
  /** Largest difference of a gradient tensor, as a share of its largest value. */
  gradientError: number | null;
  /** Least time of a training step of the backbone's shape, all gradients, four images. */
  msPerStep: number | null;
  chosen: boolean;
  why: string;
}

export interface ProbeOptions {
  threads: number;
  /** Of the backbone that will train; DeiT-Tiny's when absent. */
  architecture?: Architecture | undefined;
  precision?: Precision | undefined;
  /** Measure again, and forget what is kept: what holds no longer for this question may hold no longer for others. */
  fresh?: boolean;
  /** Called before each engine that is measured. */
  onEngine?(id: EngineId): void;
  /** Ends the probe at work; the engines not measured yet then count as unavailable, and nothing is kept. */
  cancel?: AbortSignal | undefined;
}

/**
 * The largest max|difference| / max|gradient| of a tensor that still counts as correct, by what products are computed in.
 * f16: WebGPU sums in f16 too, which a block of ViT-B's width brings to 2.8e-2; summed in f32 it is below 2e-3.
 */
export const gradientTolerance: Record<Precision, number> = { f32: 1e-4, tf32: 1e-2, bf16: 1e-1, f16: 5e-2 };

/** A verdict with an engine that did not run is good for so long: a crash may pass, a driver may be installed. */
const doubtfulMilliseconds = 24 * 3600_000;

const usualArchitecture: Architecture = {
  imageSize: 224, patch: 16, width: 192, depth: 12, heads: 3, hidden: 768, layerNormEpsilon: 1e-6, activation: 'gelu',
  preNorm: false, patchBias: true, layerScale: false, qkvBias: true,
};

/** A row for each engine, the chosen one marked. */
export async function probeEngines({ threads, architecture = usualArchitecture, precision = 'f32', fresh = false, onEngine, cancel }: ProbeOptions): Promise<EngineReport[]> {
  const file = verdictFile({ threads, architecture, precision });
  if (fresh) forgetAll(file);
  const kept = readVerdict(file);
  if (kept) return kept;
  const outcomes = new Map<EngineId, ProbeOutcome>();
  const isAble = (id: EngineId) => engines[id].precisions.includes(precision);
  for (const id of Object.keys(engines) as EngineId[]) {
    if (!isAble(id)) outcomes.set(id, { error: `it cannot compute in ${precision}` });
    else if (cancel?.aborted) outcomes.set(id, { error: 'not measured' });
    else {
      onEngine?.(id);
      outcomes.set(id, await askProbe({ engine: id, threads, architecture, precision }, cancel));
    }
  }
  const reports = markFastest([...outcomes].map(([id, outcome]) => judge(id, outcome, precision)));
  if (!cancel?.aborted) keep(file, { made: Date.now(), doubtful: [...outcomes].some(([id, outcome]) => 'error' in outcome && isAble(id)), reports });
  return reports;
}

export interface ChooseOptions extends ProbeOptions {
  asked: EngineId | 'auto';
  /** Engines that failed, and how: `auto` does without them. */
  avoid?: ReadonlyMap<EngineId, string>;
}

/** The engine to train on. Throws a UserError when the one asked for does not work here, or none does. */
export async function chooseEngine({ asked, avoid = new Map(), ...options }: ChooseOptions): Promise<{ engine: Engine; report: EngineReport[] }> {
  if (asked !== 'auto') return { engine: engines[asked], report: [] };
  const { precision = 'f32' } = options;
  const measured = await probeEngines(options);
  const report = avoid.size ? markFastest(measured.map(r => without(r, avoid))) : measured;
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

function judge(id: EngineId, outcome: ProbeOutcome, precision: Precision): EngineReport {
  if ('error' in outcome) {
    return { id, available: false, correct: false, gradientError: null, msPerStep: null, chosen: false, why: outcome.error.split('\n')[0]! };
  }
  const { gradientError, msPerStep, how } = outcome;
  const isNumber = Number.isFinite(gradientError);
  const correct = isNumber && gradientError <= gradientTolerance[precision];
  const speed = `${msPerStep.toFixed(1)} ms a step${how ? `, ${how}` : ''}`;
  const why = correct ? speed : isNumber ? `its gradients are off by ${gradientError.toExponential(1)} of their largest value` : 'its gradients are not finite';
  return { id, available: true, correct, gradientError, msPerStep, chosen: false, why };
}

function without(report: EngineReport, avoid: ReadonlyMap<EngineId, string>): EngineReport {
  const reason = avoid.get(report.id);
  return reason === undefined ? { ...report, chosen: false } : { ...report, correct: false, chosen: false, why: `it failed in this trial: ${reason}` };
}

function markFastest(reports: EngineReport[]): EngineReport[] {
  const usable = reports.filter(r => r.correct);
  const fastest = usable.reduce<EngineReport | null>((best, r) => (best && best.msPerStep! <= r.msPerStep! ? best : r), null);
  const plain = (why: string) => why.replace(/^the fastest: /, '');
  return reports.map(r => (r === fastest ? { ...r, chosen: true, why: `the fastest: ${plain(r.why)}` } : { ...r, why: plain(r.why) }));
}

interface Verdict {
  made: number;
  doubtful: boolean;
  reports: EngineReport[];
}

/** One file for each machine, executable, build of the probe, set of runtimes, number of threads, shape and precision. */
function verdictFile(question: { threads: number; architecture: Architecture; precision: Precision }): string {
  const script = fs.statSync(probeScript());
  const runtimes = installedRuntimes().map(({ folder, version, installed }) => [folder, version, installed]);
  const machine = [os.hostname(), os.cpus()[0]?.model, process.platform, process.arch, process.version, process.execPath, script.size, script.mtimeMs];
  const key = JSON.stringify([machine, runtimes, kernelsStamp(), process.env['PEFT_LAB_SOFTWARE_GPU'], Object.keys(engines), question]);
  return path.join(cacheFolder(), 'engines', `${createHash('sha256').update(key).digest('hex').slice(0, 16)}.json`);
}

/** Of the kernels that were built with PEFT Lab; null where they were not. */
function kernelsStamp(): number[] | null {
  const file = process.env['PEFT_LAB_KERNELS'] ?? builtKernels();
  const found = file === null ? undefined : fs.statSync(file, { throwIfNoEntry: false });
  return found ? [found.size, found.mtimeMs] : null;
}

/** Null where there is none, or none that still counts. */
function readVerdict(file: string): EngineReport[] | null {
  try {
    const { made, doubtful, reports } = JSON.parse(fs.readFileSync(file, 'utf8')) as Verdict;
    return Array.isArray(reports) && !(doubtful && Date.now() - made > doubtfulMilliseconds) ? reports : null;
  } catch {
    return null; // none, or a torn one: measured anew
  }
}

/** Of every question. */
function forgetAll(file: string): void {
  try {
    fs.rmSync(path.dirname(file), { recursive: true, force: true });
  } catch { /* a read-only cache folder is no reason to fail */ }
}

/** A verdict that cannot be kept is measured again next time. */
function keep(file: string, verdict: Verdict): void {
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(`${file}.${process.pid}`, JSON.stringify(verdict, null, 2));
    fs.renameSync(`${file}.${process.pid}`, file);
  } catch { /* a read-only cache folder is no reason to fail */ }
}
