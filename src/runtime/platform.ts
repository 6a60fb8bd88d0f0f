/** What this machine is, as far as wheels and native libraries ask: C library, system version, driver, compiler, disk. */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { UserError } from '../common/errors';
import { fileSize } from '../common/format';

export interface Platform {
  /** As Node.js names them. */
  platform: NodeJS.Platform;
  arch: string;
  /** Of the GNU C library, `2.36`; null on other systems and with musl. */
  glibc: string | null;
  /** `14`, of macOS; null elsewhere. */
  macos: number | null;
}

export function thisPlatform(): Platform {
  return { platform: process.platform, arch: process.arch, glibc: glibcVersion(), macos: process.platform === 'darwin' ? macosVersion(os.release()) : null };
}

/** Darwin 20 is macOS 11, and 25 is macOS 26: the numbers follow the years since. */
function macosVersion(release: string): number {
  const darwin = Number.parseInt(release, 10);
  return darwin >= 25 ? darwin + 1 : darwin - 9;
}

function glibcVersion(): string | null {
  if (process.platform !== 'linux') return null;
  const report = process.report.getReport() as unknown as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime ?? null;
}

/**
 * Whether a wheel's file name fits: `NAME-VERSION-PYTHON-ABI-PLATFORM.whl`, where several platforms stand between dots.
 * Python and ABI do not matter, since only libraries are taken from it.
 */
export function wheelFits(filename: string, machine: Platform): boolean {
  const tags = /-([^-]+)\.whl$/.exec(filename)?.[1]?.split('.') ?? [];
  return tags.some(tag => tagFits(tag, machine));
}

function tagFits(tag: string, { platform, arch, glibc, macos }: Platform): boolean {
  if (tag === 'any') return true;
  if (platform === 'win32') return tag === (arch === 'arm64' ? 'win_arm64' : 'win_amd64');
  const machine = ({ linux: { x64: 'x86_64', arm64: 'aarch64' }, darwin: { x64: 'x86_64', arm64: 'arm64' } } as Record<string, Record<string, string>>)[platform]?.[arch];
  if (!machine || !tag.endsWith(`_${machine}`)) return false;
  if (platform === 'darwin') {
    const wanted = /^macosx_(\d+)_\d+_/.exec(tag)?.[1];
    return wanted !== undefined && macos !== null && Number(wanted) <= macos;
  }
  const wanted = wantedGlibc(tag);
  return wanted !== null && glibc !== null && !isOlder(glibc, wanted);
}

/** `manylinux_2_27_x86_64` needs 2.27; older tags have names by the year. */
export function wantedGlibc(tag: string): string | null {
  const named = /^manylinux(2014|2010|1)_/.exec(tag)?.[1];
  if (named) return ({ 2014: '2.17', 2010: '2.12', 1: '2.5' } as Record<string, string>)[named]!;
  const match = /^manylinux_(\d+)_(\d+)_/.exec(tag);
  return match ? `${match[1]}.${match[2]}` : null;
}

export function isOlder(version: string, wanted: string): boolean {
  const [[major = 0, minor = 0], [wantedMajor = 0, wantedMinor = 0]] = [version, wanted].map(v => v.split('.').map(Number)) as [number[], number[]];
  return major !== wantedMajor ? major < wantedMajor : minor < wantedMinor;
}

/** `Linux x64 with glibc 2.36`. */
export function describePlatform({ platform, arch, glibc, macos }: Platform): string {
  if (platform === 'linux') return `Linux ${arch} with ${glibc ? `glibc ${glibc}` : 'another C library than glibc (musl?)'}`;
  if (platform === 'darwin') return `macOS ${macos ?? ''} ${arch}`.replace('  ', ' ');
  return `${platform === 'win32' ? 'Windows' : platform} ${arch}`;
}

export interface Driver {
  /** `580.65.06` */
  version: string;
  /** Names of the GPUs, where the driver's tool says them. */
  gpus: string[];
}

/** NVIDIA's driver; null where there is none. */
export async function nvidiaDriver(): Promise<Driver | null> {
  const listed = await output('nvidia-smi', ['--query-gpu=driver_version,name', '--format=csv,noheader']);
  const rows = (listed ?? '').trim().split('\n').filter(line => /^[\d.]+,/.test(line)).map(line => line.split(',').map(cell => cell.trim()));
  if (rows[0]) return { version: rows[0][0]!, gpus: rows.map(row => row[1] ?? 'GPU') };
  const text = readIfThere('/proc/driver/nvidia/version');
  const version = /Kernel Module(?: for \w+)?\s+([\d.]+)/.exec(text ?? '')?.[1];
  return version ? { version, gpus: [] } : null;
}

/** The first C++ compiler that runs: CXX of the environment, then the usual names; null where there is none. */
export async function findCompiler(environment: NodeJS.ProcessEnv = process.env): Promise<string | null> {
  for (const name of [environment['CXX'], 'g++', 'clang++', 'c++']) {
    if (name && await output(name, ['--version'])) return name;
  }
  return null;
}

/**
 * The first C compiler that works, CC of the environment before the usual names; null where there is none. Some systems
 * have a compiler without the headers of the C library.
 */
export async function findCCompiler(environment: NodeJS.ProcessEnv = process.env): Promise<string | null> {
  for (const name of [environment['CC'], 'cc', 'gcc', 'clang']) {
    if (name && await output(name, ['-fsyntax-only', '-include', 'math.h', '-include', 'pthread.h', '-x', 'c', os.devNull])) return name;
  }
  return null;
}

/** How a compiler is installed on this system: one sentence with the command. */
export function compilerRemedy(platform: NodeJS.Platform = process.platform, osRelease = readIfThere('/etc/os-release') ?? ''): string {
  if (platform === 'darwin') return 'Install Apple\'s command line tools: xcode-select --install';
  const ids = [...osRelease.matchAll(/^ID(?:_LIKE)?=(.*)$/gm)].flatMap(match => match[1]!.replaceAll('"', '').split(' '));
  const command = ids.map(id => installCommands[id]).find(Boolean);
  return `Install one${command ? `: ${command}` : ' (g++ or clang++)'}. On a cluster, load a module instead (module load gcc), or name a compiler in the variable CXX.`;
}

const installCommands: Record<string, string> = {
  debian: 'sudo apt install g++', ubuntu: 'sudo apt install g++', fedora: 'sudo dnf install gcc-c++', rhel: 'sudo dnf install gcc-c++',
  centos: 'sudo yum install gcc-c++', suse: 'sudo zypper install gcc-c++', opensuse: 'sudo zypper install gcc-c++', arch: 'sudo pacman -S gcc',
};

/** Throws a UserError when `folder` (which exists) has not the room. */
export async function requireSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await fs.promises.statfs(folder);
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw new UserError({
    what: `not enough room: ${fileSize(bytes)} are needed and ${fileSize(free)} are free`, where: folder,
    remedy: 'Free some space, or name a folder on another disk in the variable PEFT_LAB_DATA.',
  });
}

/** What a short command prints; null when it cannot run, fails, or takes longer than ten seconds. */
function output(command: string, args: string[]): Promise<string | null> {
  return new Promise(resolve => {
    execFile(command, args, { timeout: 10_000, windowsHide: true }, (error, stdout) => resolve(error ? null : stdout || ' '));
  });
}

function readIfThere(file: string): string | null {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}
