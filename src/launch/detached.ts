/** A command line that outlives who started it. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

export interface DetachedOptions {
  /** Node.js, or an editor's executable; then ELECTRON_RUN_AS_NODE=1 belongs into `env`. */
  executable: string;
  /** dist/cli.cjs. */
  cli: string;
  args: readonly string[];
  /** Gets everything that the process prints; what an earlier run left there goes. */
  logFile: string;
  cwd: string;
  env: NodeJS.ProcessEnv;
}

/** Resolves with the process number once it runs; rejects when the executable cannot be started. */
export function startDetached({ executable, cli, args, logFile, cwd, env }: DetachedOptions): Promise<number> {
  fs.mkdirSync(path.dirname(logFile), { recursive: true });
  const log = fs.openSync(logFile, 'w');
  const child = spawn(executable, [cli, ...args], { cwd, env, detached: true, stdio: ['ignore', log, log], windowsHide: true });
  fs.closeSync(log);
  child.unref();
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('spawn', () => resolve(child.pid!));
  });
}
