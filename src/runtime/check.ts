/** Whether an installed runtime loads and computes here, found out in a process of its own. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { runtimeEnvironment, type Runtime, type RuntimeCheck } from '../common/runtimes';
import type { CheckOutcome } from './check-process';

const timeLimit = 120_000; // loading the libraries of CUDA from a slow network disk takes a while

/** Always resolves, except when aborted: a crash and a time out are answers too. */
export function checkRuntime(runtime: Runtime, signal?: AbortSignal): Promise<RuntimeCheck> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [checkScript(), runtime.folder], {
      stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...runtimeEnvironment(runtime) }, windowsHide: true,
    });
    let [output, complaints] = ['', ''];
    const timer = setTimeout(() => child.kill('SIGKILL'), timeLimit);
    const onAbort = () => child.kill('SIGKILL');
    signal?.addEventListener('abort', onAbort);
    child.stdout.setEncoding('utf8').on('data', (text: string) => { output += text; });
    child.stderr.setEncoding('utf8').on('data', (text: string) => { complaints += text; });
    child.once('error', error => { complaints += error.message; });
    child.once('close', (code, killed) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      if (signal?.aborted) return reject(signal.reason as Error);
      const outcome = parseOutcome(output) ?? { works: false, says: `its check ended with ${killed ?? `code ${code}`}${lastLine(complaints)}`, devices: [] };
      resolve({ ...outcome, checked: new Date().toISOString() });
    });
  });
}

/** The last line that is an outcome: native libraries may write to standard output too. */
function parseOutcome(output: string): CheckOutcome | null {
  for (const line of output.trim().split('\n').reverse()) {
    if (!line.startsWith('{"works"')) continue;
    try {
      return JSON.parse(line) as CheckOutcome;
    } catch { /* not ours */ }
  }
  return null;
}

function lastLine(text: string): string {
  const last = text.trim().split('\n').at(-1);
  return last ? `: ${last}` : '';
}

function checkScript(): string {
  const candidates = [path.join(__dirname, 'runtime-check.cjs'), path.resolve('dist/runtime-check.cjs')];
  const script = candidates.find(file => fs.existsSync(file));
  if (!script) throw new UserError({ what: 'a part of PEFT Lab is missing', where: candidates[0], remedy: 'Install it again, or run `npm run build`.' });
  return script;
}
