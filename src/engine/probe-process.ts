/** One engine tried in a process of its own (worker/probe.ts). Whatever happens there, it ends with words. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { engineEnvironment } from '../common/runtimes';
import type { Architecture } from '../common/trial';
import type { EngineId, Precision } from './program';

/** What a probe is asked. */
export interface ProbeQuestion {
  engine: EngineId;
  threads: number;
  architecture: Architecture;
  precision: Precision;
}

/** What a probe process says. */
export type ProbeOutcome =
  | {
    /** Largest max|difference| / max|gradient| of any tensor. */
    gradientError: number;
    /** A training step with all gradients, four images. */
    msPerStep: number;
    /** How that was measured, where not plainly. */
    how?: string;
  }
  | { error: string };

/** Ends by itself, at the time limit (PEFT_LAB_PROBE_SECONDS, 180 when absent), or when `cancel` says so. */
export function askProbe({ engine, threads, architecture, precision }: ProbeQuestion, cancel?: AbortSignal): Promise<ProbeOutcome> {
  const seconds = Number(process.env['PEFT_LAB_PROBE_SECONDS'] ?? 0) || 180;
  return new Promise(resolve => {
    const args = [probeScript(), engine, String(threads), JSON.stringify(architecture), precision];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], env: engineEnvironment(), windowsHide: true });
    let [output, complaints, isLate] = ['', '', false];
    const end = () => child.kill('SIGKILL');
    const timer = setTimeout(() => {
      isLate = true;
      end();
    }, seconds * 1000);
    cancel?.addEventListener('abort', end);
    child.stdout.on('data', chunk => (output += chunk));
    child.stderr.on('data', chunk => (complaints += chunk));
    child.on('error', error => resolve({ error: error.message }));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      cancel?.removeEventListener('abort', end);
      resolve(parseOutcome(output) ?? { error: isLate ? `it did not come to an end within ${seconds} s` : `it crashed (${signal ?? `code ${code}`})${lastLine(complaints)}` });
    });
  });
}

export function probeScript(): string {
  const candidates = [path.join(__dirname, 'probe.cjs'), path.resolve('dist/probe.cjs')];
  const script = candidates.find(f => fs.existsSync(f));
  if (!script) throw new UserError({ what: 'the engine probe is missing', where: candidates[0], remedy: 'Run `npm run build`.' });
  return script;
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

function lastLine(text: string): string {
  const last = text.trim().split('\n').at(-1);
  return last ? `: ${last}` : '';
}
