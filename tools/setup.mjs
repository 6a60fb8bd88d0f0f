// What every command does first: install the dependencies when they are missing or stale, and build.
// npm runs no pre-scripts here (ignore-scripts), so `npm start` and `npm test` call this themselves.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

const [major] = process.versions.node.split('.').map(Number);
if (major < 20) {
  console.error(`PEFT Lab needs Node.js 20 or newer; this is ${process.version}. Get it from https://nodejs.org.`);
  process.exit(2);
}

/** Runs a command with its output shown; throws with its exit code in the message. */
export function runCommand(command, args, options = {}) {
  const done = spawnSync(command, args, { cwd: root, stdio: 'inherit', shell: process.platform === 'win32', ...options });
  if (done.error) throw done.error;
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')} exited with ${done.status ?? done.signal}`);
}

/** npm writes node_modules/.package-lock.json last; the stamp is the lock file that was installed. */
function dependenciesAreCurrent() {
  const installed = path.join(root, 'node_modules/.package-lock.json');
  const stamp = path.join(root, 'node_modules/.peft-lab-lock');
  if (!fs.existsSync(installed) || !fs.existsSync(stamp)) return false;
  return fs.readFileSync(stamp, 'utf8') === fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8');
}

export function installDependencies() {
  if (!dependenciesAreCurrent()) {
    console.error('Installing dependencies (npm ci) ...');
    runCommand('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
    fs.copyFileSync(path.join(root, 'package-lock.json'), path.join(root, 'node_modules/.peft-lab-lock'));
  }
}

export async function setUp() {
  installDependencies();
  const { buildAll } = await import('../esbuild.mjs');
  await buildAll();
}
