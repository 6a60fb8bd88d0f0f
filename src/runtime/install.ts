/**
 * Installing, removing and listing runtimes. An installation is put together in a folder of its own beside the others
 * (its name begins with a dot) and renamed when it is whole; what was interrupted goes on from there, or is removed.
 */
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { takeFileLock, type Lock } from '../common/file-lock';
import { replaceFile } from '../common/replace-file';
import {
  dataFoldersOfRuntimes, manifestName, readRuntime, type Runtime, type RuntimeKind, type RuntimeManifest,
} from '../common/runtimes';
import { forgetBindings } from './binding';
import { checkRuntime } from './check';
import { diskError, download } from './download';
import { unpackedMark, wheelPath, type RuntimePlan } from './plan';
import type { Wheel } from './python-index';
import { unpack } from './unpack';

export type InstallPhase = 'downloading' | 'unpacking' | 'building' | 'checking';

export interface InstallProgress {
  phase: InstallPhase;
  /** The package at work; '' where there is none. */
  detail: string;
  /** Bytes fetched of all wheels, and how many that will be. */
  done: number;
  total: number;
  bytesPerSecond: number;
  /** Share of the whole installation, 0 to 1. */
  fraction: number;
}

export interface InstallOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: InstallProgress) => void) | undefined;
  retryMilliseconds?: number | undefined;
}

/** Fetches, unpacks, builds and checks. Throws a UserError; the signal's reason when aborted: then what was done stays. */
export async function installRuntime(plan: RuntimePlan, options: InstallOptions = {}): Promise<Runtime> {
  const { staging, folder, problems } = plan;
  if (problems.length > 0) throw new UserError({ what: problems.join('\n') });
  if (plan.installed) return recheck(plan.installed, options.signal);
  try {
    await fs.promises.mkdir(staging, { recursive: true });
    const lock = takeLock(staging);
    try {
      const tree = path.join(staging, 'tree');
      await fetchAndUnpack(plan, tree, options);
      await finish(plan, tree, options);
      await fs.promises.rm(folder, { recursive: true, force: true }); // torn, or of another format
      await replaceFile(tree, folder);
    } finally {
      lock.release();
    }
    await fs.promises.rm(staging, { recursive: true, force: true });
  } catch (error) {
    throw options.signal?.aborted ? options.signal.reason : diskError(error, staging);
  }
  return readRuntime(folder)!;
}

/** Of the time that an installation takes: what the wheels take, and the download's part of that. */
const wheelsShare = 0.96, downloadShare = 0.9;

async function fetchAndUnpack(plan: RuntimePlan, tree: string, { signal, onProgress, retryMilliseconds }: InstallOptions): Promise<void> {
  const total = plan.wheels.reduce((sum, wheel) => sum + wheel.bytes, 0);
  const speed = speedometer();
  let done = 0;
  for (const wheel of plan.wheels) {
    const report = (phase: InstallPhase, { fetched, share }: { fetched: number; share: number }) => onProgress?.({
      phase, detail: wheel.name, done: done + fetched, total, bytesPerSecond: phase === 'downloading' ? speed(done + fetched) : 0,
      fraction: wheelsShare * Math.min(1, (done + share * wheel.bytes) / total),
    });
    if (!fs.existsSync(unpackedMark(plan.staging, wheel))) {
      const file = wheelPath(plan.staging, wheel);
      const reportFetched = (fetched: number) => report('downloading', { fetched, share: downloadShare * fetched / wheel.bytes });
      const reportUnpacked = (unpacked: number) => report('unpacking', { fetched: wheel.bytes, share: downloadShare + (1 - downloadShare) * unpacked });
      await download({ url: wheel.url, file, bytes: wheel.bytes, sha256: wheel.sha256, signal, retryMilliseconds, onProgress: reportFetched });
      reportUnpacked(0);
      await unpackWheel({ plan, wheel, file, tree, signal, onProgress: reportUnpacked });
    }
    done += wheel.bytes;
  }
}

interface UnpackWheelOptions {
  plan: RuntimePlan;
  wheel: Wheel;
  file: string;
  tree: string;
  signal: AbortSignal | undefined;
  onProgress(share: number): void;
}

async function unpackWheel({ plan, wheel, file, tree, signal, onProgress }: UnpackWheelOptions): Promise<void> {
  try {
    await unpack({ file, folder: path.join(tree, 'site'), keep: plan.recipe.keep, signal, onProgress });
  } catch (error) {
    if (!signal?.aborted) await fs.promises.rm(file, { force: true });
    throw error;
  }
  const mark = unpackedMark(plan.staging, wheel);
  await fs.promises.mkdir(path.dirname(mark), { recursive: true });
  await fs.promises.writeFile(mark, wheel.filename);
  await fs.promises.rm(file, { force: true });
}

/** Builds the module, writes runtime.json, and finds out whether it works. */
async function finish(plan: RuntimePlan, tree: string, { signal, onProgress }: InstallOptions): Promise<void> {
  const { recipe, wheels } = plan;
  const total = wheels.reduce((sum, wheel) => sum + wheel.bytes, 0);
  const report = (phase: InstallPhase, fraction: number) => onProgress?.({ phase, detail: '', done: total, total, bytesPerSecond: 0, fraction });
  report('building', wheels.length > 0 ? wheelsShare : 0);
  await recipe.finish({ folder: tree, signal });
  const manifest = describe(plan, tree);
  write(tree, manifest);
  report('checking', 0.98);
  let check = await checkRuntime({ ...manifest, folder: tree }, signal);
  if (!check.works && recipe.kind === 'tensorflow') { // a binding from another system may not load on this one
    await recipe.finish({ folder: tree, fresh: true, signal });
    check = await checkRuntime({ ...manifest, folder: tree }, signal);
  }
  if (!check.works && !recipe.gpu) throw new UserError({ what: `the runtime does not work here: ${check.says}`, where: tree, remedy: 'Mend that and run it again: nothing is fetched twice. Or remove it: peft-lab runtime remove.' });
  if (recipe.keepsWheels) write(tree, { ...manifest, check });
  else {
    await discardWheels(plan.staging, tree);
    write(tree, { ...describe(plan, tree), check });
  }
}

/** The marks first: whatever interrupts this, what is marked as unpacked is there. */
async function discardWheels(staging: string, tree: string): Promise<void> {
  for (const folder of [path.join(staging, 'unpacked'), path.join(tree, 'site')]) await fs.promises.rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

function describe({ recipe, wheels, machine }: RuntimePlan, tree: string): RuntimeManifest {
  const files = filesBelow(tree);
  // A compiler's own are for other programs: loaded into this one, they would take the system's place.
  const libraries = !recipe.keepsWheels ? [] : [...new Set(files.filter(file => /^site\/.*\.(so(\.\d+)*|dylib)$/.test(file.name)).map(file => path.posix.dirname(file.name)))].sort();
  return {
    format: 1, kind: recipe.kind, version: recipe.version, platform: machine.platform, arch: machine.arch, gpu: recipe.gpu,
    installed: new Date().toISOString(), bytes: files.reduce((sum, file) => sum + file.bytes, 0), module: recipe.module,
    libraries: libraries.sort((a, b) => Number(b === 'site/tensorflow') - Number(a === 'site/tensorflow')),
    cudaData: files.some(file => file.name === 'site/nvidia/cuda_nvcc/bin/ptxas') ? 'site/nvidia/cuda_nvcc' : null,
    packages: wheels.map(({ name, version, sha256 }) => ({ name, version, sha256 })), check: null,
  };
}

function filesBelow(folder: string): { name: string; bytes: number }[] {
  return fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile()).map(entry => {
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    return { name: path.relative(folder, file).replaceAll(path.sep, '/'), bytes: fs.statSync(file).size };
  });
}

function write(folder: string, manifest: RuntimeManifest): void {
  const file = path.join(folder, manifestName);
  fs.writeFileSync(`${file}.tmp`, `${JSON.stringify(manifest, null, 2)}\n`);
  fs.renameSync(`${file}.tmp`, file);
}

/** Finds out again whether it works, and keeps the answer where the folder can be written. */
export async function recheck(runtime: Runtime, signal?: AbortSignal): Promise<Runtime> {
  const check = await checkRuntime(runtime, signal);
  const { folder, ...manifest } = runtime;
  try { write(folder, { ...manifest, check }); } catch { /* somebody else's installation */ }
  return { ...runtime, check };
}

export interface Unfinished {
  name: string;
  folder: string;
  bytes: number;
}

/** What interrupted installations left. */
export function unfinishedRuntimes(): Unfinished[] {
  return dataFoldersOfRuntimes().flatMap(folder => namesIn(folder).filter(name => name.startsWith('.install-')).map(name => {
    const own = path.join(folder, name);
    return { name: name.slice('.install-'.length), folder: own, bytes: filesBelow(own).reduce((sum, file) => sum + file.bytes, 0) };
  }));
}

export interface Removed {
  folder: string;
  bytes: number;
}

/** Removes every runtime of a kind, finished or not, and what was kept for it. Resolves with what is gone. */
export async function removeRuntimes(kind: RuntimeKind): Promise<Removed[]> {
  const removed: Removed[] = [];
  for (const parent of dataFoldersOfRuntimes()) {
    for (const name of namesIn(parent).filter(one => new RegExp(`^(\\.install-|\\.removed-)?${kind}-`).test(one))) {
      const folder = path.join(parent, name);
      if (name.startsWith('.install-')) takeLock(folder).release();
      removed.push({ folder, bytes: filesBelow(folder).reduce((sum, file) => sum + file.bytes, 0) });
      await removeFolder(folder);
    }
    if (namesIn(parent).length === 0) await fs.promises.rmdir(parent).catch(() => undefined); // ours to leave as it was found
  }
  if (kind === 'tensorflow') await forgetBindings();
  return removed;
}

/** Renamed first: whoever looks meanwhile sees no half runtime. */
async function removeFolder(folder: string): Promise<void> {
  const aside = path.join(path.dirname(folder), `.removed-${path.basename(folder).replace(/^\.(install|removed)-/, '')}`);
  try {
    if (aside !== folder) {
      await fs.promises.rm(aside, { recursive: true, force: true });
      await replaceFile(folder, aside);
    }
    await fs.promises.rm(aside, { recursive: true, force: true, maxRetries: 5 });
  } catch (cause) {
    throw new UserError({ what: `this runtime cannot be removed (${(cause as NodeJS.ErrnoException).code ?? String(cause)})`, where: folder, remedy: 'Stop the studies that use it, and check that the folder is yours.', cause });
  }
}

function namesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/** One installation at a time in a folder. */
function takeLock(staging: string): Lock {
  return takeFileLock(path.join(staging, 'lock'), { what: 'this runtime is being installed already', remedy: 'Wait until it ends, or stop it.' });
}

/** Bytes a second over the last seconds. */
function speedometer(now: () => number = Date.now): (bytes: number) => number {
  const samples: { at: number; bytes: number }[] = [];
  return bytes => {
    const at = now();
    if (samples.length === 0 || at - samples.at(-1)!.at > 200) samples.push({ at, bytes });
    while (samples.length > 2 && at - samples[0]!.at > 5000) samples.shift();
    const [first] = samples;
    return first && at > first.at ? Math.max(0, 1000 * (bytes - first.bytes) / (at - first.at)) : 0;
  };
}
