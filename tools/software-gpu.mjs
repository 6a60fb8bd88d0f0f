// A GPU to test on where there is none: Mesa's Vulkan driver that computes on the processor (lavapipe), from Debian's own
// packages, unpacked into .software-gpu/ and not installed. Debian 12's Mesa is too old for WebGPU, its backport is not.
// `node tools/software-gpu.mjs` fetches it (some 10 to 60 MB, by what the machine has) and prints the environment to use it.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const folder = path.join(root, '.software-gpu');
const stamp = path.join(folder, 'installed.json');
const unpacked = path.join(folder, 'root');
const wanted = ['mesa-vulkan-drivers', 'libvulkan1'];

/** The environment in which a process finds the driver, `{ environment }`, or `{ missing: why }`. */
export function findSoftwareGpu() {
  if (!fs.existsSync(stamp)) return { missing: 'no software GPU; `node tools/software-gpu.mjs` fetches one on Debian' };
  const { driver, libraries } = JSON.parse(fs.readFileSync(stamp, 'utf8'));
  return {
    environment: {
      VK_DRIVER_FILES: path.resolve(unpacked, driver),
      LD_LIBRARY_PATH: [...libraries.map(f => path.join(unpacked, f)), process.env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
      MESA_SHADER_CACHE_DIR: path.join(folder, 'shaders'),
      PEFT_LAB_SOFTWARE_GPU: '1',
    },
  };
}

/** Throws, saying why, where it cannot be had. */
export function installSoftwareGpu() {
  if (fs.existsSync(stamp)) return;
  const release = debianRelease();
  fs.rmSync(folder, { recursive: true, force: true });
  for (const part of ['lists/partial', 'cache/archives/partial', 'packages', 'root']) fs.mkdirSync(path.join(folder, part), { recursive: true });
  writeSources(release);
  apt(['update']);
  const target = release === 'bookworm' ? ['-t', 'bookworm-backports'] : [];
  const simulated = apt(['-s', ...target, '--no-install-recommends', 'install', ...wanted]);
  const packages = [...simulated.matchAll(/^Inst (\S+)(?: \[[^\]]*\])? \((\S+)/gm)].map(([, name, version]) => `${name}=${version}`).filter(p => !/-dev=/.test(p));
  // What is installed already and new enough is used as it is.
  if (packages.length) apt(['download', ...packages], { cwd: path.join(folder, 'packages') });
  for (const file of fs.readdirSync(path.join(folder, 'packages'))) command('dpkg-deb', ['-x', path.join(folder, 'packages', file), unpacked]);
  const found = findDriver();
  for (const part of ['packages', 'lists', 'cache']) fs.rmSync(path.join(folder, part), { recursive: true, force: true });
  fs.writeFileSync(stamp, JSON.stringify({ ...found, packages }));
}

function debianRelease() {
  if (process.platform !== 'linux' || !fs.existsSync('/etc/debian_version')) throw new Error('a software GPU is fetched from Debian\'s packages only');
  const release = /^VERSION_CODENAME=(\w+)/m.exec(fs.readFileSync('/etc/os-release', 'utf8'))?.[1];
  if (!release) throw new Error('this Debian has no code name in /etc/os-release');
  return release;
}

/** The mirror that the system uses, with backports where the release's own Mesa is too old. */
function writeSources(release) {
  const targets = command('apt-get', ['indextargets', '--format', '$(SITE) $(RELEASE)', 'Created-By: Packages']).trim().split('\n').map(line => line.split(' '));
  const site = targets.find(([, name]) => name === release)?.[0] ?? 'http://deb.debian.org/debian';
  const suites = release === 'bookworm' ? [release, 'bookworm-backports'] : [release];
  const key = '/usr/share/keyrings/debian-archive-keyring.gpg';
  fs.writeFileSync(path.join(folder, 'sources.list'), suites.map(suite => `deb [signed-by=${key}] ${site} ${suite} main\n`).join(''));
}

/** apt-get with lists and cache of our own: nothing of the system changes, and no root is needed. */
function apt(args, options = {}) {
  const settings = {
    'Dir::Etc::sourcelist': path.join(folder, 'sources.list'), 'Dir::Etc::sourceparts': '-', 'Dir::State::lists': path.join(folder, 'lists'),
    'Dir::Cache': path.join(folder, 'cache'), 'APT::Sandbox::User': '', 'Acquire::http::Timeout': '20', 'Acquire::Retries': '1',
  };
  return command('apt-get', [...Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]), ...args], options);
}

function command(name, args, options = {}) {
  const done = spawnSync(name, args, { encoding: 'utf8', timeout: 180_000, maxBuffer: 2 ** 26, env: { ...process.env, LC_ALL: 'C' }, ...options });
  if (done.error) throw new Error(`${name}: ${done.error.message}`);
  if (done.status !== 0) throw new Error(`${name} ${args.at(-1)} exited with ${done.status ?? done.signal}: ${done.stderr.trim().split('\n').at(-1)}`);
  return done.stdout;
}

/** The driver's description, and the folders in which libraries were unpacked, relative to the unpacked tree. */
function findDriver() {
  const files = fs.readdirSync(unpacked, { recursive: true }).map(String);
  const library = files.find(f => path.basename(f) === 'libvulkan_lvp.so');
  if (!library) return { driver: systemDriver(), libraries: [] };
  const folders = [...new Set(files.filter(f => /\.so(\.|$)/.test(path.basename(f))).map(f => path.dirname(f)))].filter(f => /(^|\/)lib\/[^/]+$/.test(f));
  // The description that is in the package names the library without its folder.
  fs.writeFileSync(path.join(unpacked, 'lvp_icd.json'), JSON.stringify({ file_format_version: '1.0.0', ICD: { api_version: '1.3.0', library_path: `./${library}` } }));
  return { driver: 'lvp_icd.json', libraries: folders };
}

/** Nothing had to be unpacked: the system has it. */
function systemDriver() {
  const name = fs.existsSync('/usr/share/vulkan/icd.d') && fs.readdirSync('/usr/share/vulkan/icd.d').find(f => f.startsWith('lvp_icd'));
  if (!name) throw new Error('Debian\'s mesa-vulkan-drivers has no lavapipe for this machine');
  return `/usr/share/vulkan/icd.d/${name}`;
}

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    installSoftwareGpu();
    for (const [name, value] of Object.entries(findSoftwareGpu().environment)) console.log(`${name}=${value}`);
  } catch (error) {
    console.error(`No software GPU: ${error.message}`);
    process.exit(1);
  }
}
