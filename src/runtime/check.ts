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
      const outcome = parseOutcome(output) ?? { works: false, says: `its check ended with ${killed ?? `code ${code}`}`, devices: [] };
      const says = outcome.works ? outcome.says : inWords(outcome.says, complaints);
      resolve({ ...outcome, says, checked: new Date().toISOString() });
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

/** What loaders and drivers say, as its reader can act on it; their own words stay at the end. */
export function inWords(says: string, complaints: string): string {
  // CUDA's words stand in the middle of C++ names.
  const first = says.trim().split('\n')[0]!.replace(/ \S*onnxruntime_src.*?(CUDA failure \d+: [^;]*).*$/, ' $1').slice(0, 300);
  // ONNX Runtime throws "failed to load" and says why on standard error.
  const detail = /with error: (.*)/.exec(complaints)?.[1] ?? (first.startsWith('its check ended') ? complaints.trim().split('\n').at(-1)! : '');
  const words = [...known].find(([pattern]) => pattern.test(`${says}\n${detail}`))?.[1];
  return [words, detail ? `${first}: ${detail.slice(-300)}` : first].filter(Boolean).join('. ');
}

const known: [RegExp, string][] = [
  [/libcuda\.so/, 'There is no NVIDIA driver on this machine: install the driver of your GPU'],
  [/driver version is insufficient|CUDA failure 35\b|cudaErrorInsufficientDriver/, 'The NVIDIA driver is too old: install a newer one'],
  [/no CUDA-capable device|CUDA failure 100\b/, 'There is no NVIDIA GPU that can be used here (CUDA_VISIBLE_DEVICES may hide it)'],
  [/GLIBC(XX)?_[\d.]+' not found/, 'The C or C++ library of this system is too old for it'],
  [/lib(cublas|cudnn|cudart|cufft|curand)\S*: cannot open/, 'A library of CUDA is missing: remove this runtime and install it again'],
];

function checkScript(): string {
  const candidates = [path.join(__dirname, 'runtime-check.cjs'), path.resolve('dist/runtime-check.cjs')];
  const script = candidates.find(file => fs.existsSync(file));
  if (!script) throw new UserError({ what: 'a part of PEFT Lab is missing', where: candidates[0], remedy: 'Install it again, or run `npm run build`.' });
  return script;
}
