// Installs a runtime into .cache/data, where tests look for it, with the product's own command.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { root } from './setup.mjs';

const limit = 5 * 60_000;

/** Returns the exit code: 1 where it cannot be had. Quick where it is there already. */
export function installForTests(kind) {
  const done = spawnSync(process.execPath, [path.join(root, 'bin/peft-lab.mjs'), 'runtime', 'install', kind], {
    cwd: root, stdio: ['ignore', 'inherit', 'inherit'], timeout: limit,
    env: { ...process.env, PEFT_LAB_DATA: path.join(root, '.cache/data'), PEFT_LAB_CACHE: path.join(root, '.cache') },
  });
  if (done.signal) console.error(`The installation was ended after ${limit / 60_000} minutes; the next one goes on from there.`);
  return done.status === 0 ? 0 : 1;
}
