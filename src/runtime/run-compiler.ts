/** One call of a compiler, which ends: by itself, by its time limit, or by the signal. */
import { spawn } from 'node:child_process';

const timeLimit = 300_000;

export interface Compiler {
  command: string;
  /** Before all others. */
  args?: readonly string[] | undefined;
  /** Beside this process's own. */
  environment?: Readonly<Record<string, string>> | undefined;
}

export interface CompilerEnd {
  /** 0 when it has compiled; otherwise its exit code, or what ended it. */
  code: number | string;
  /** Everything that it printed. */
  words: string;
}

/** Rejects only when aborted, with the signal's reason. */
export function runCompiler({ command, args: own = [], environment }: Compiler, args: readonly string[], signal?: AbortSignal): Promise<CompilerEnd> {
  return new Promise((resolve, reject) => {
    let words = '';
    const child = spawn(command, [...own, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'], timeout: timeLimit, killSignal: 'SIGKILL', env: { ...process.env, ...environment }, ...signal && { signal },
    });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => { words += text; });
    child.once('error', error => signal?.aborted ? reject(signal.reason as Error) : resolve({ code: error.message, words }));
    child.once('close', (code, killed) => resolve({ code: code ?? killed ?? 'a signal', words }));
  });
}

/** The lines that say what is wrong. */
export function errorLines(words: string): string {
  return words.split('\n').filter(line => /error/i.test(line)).slice(0, 5).join('\n') || words.slice(-1000);
}
