/**
 * TensorFlow's binding for Node.js: two C++ files of the package @tensorflow/tfjs-node-gpu against the C library in
 * TensorFlow's wheel and the headers of Node-API, by one call of the compiler (its binding.gyp says no more), so that
 * neither Python nor node-gyp is needed. Node-API is stable: one binding serves every Node.js, Electron's included.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { cacheFolder } from '../common/paths';
import { compilerRemedy, findCompiler } from './platform';
import { errorLines, runCompiler } from './run-compiler';

export interface BindingOptions {
  /** The runtime's folder; TensorFlow's libraries and headers lie in `site/tensorflow`. */
  folder: string;
  version: string;
  /** Build it although there is one: that one does not load here. */
  fresh?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/** Where the binding comes to lie in a runtime's folder. */
export const bindingPath = 'lib/tfjs_binding.node';

const libraryNames: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  linux: ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'],
  darwin: ['libtensorflow_cc.2.dylib', 'libtensorflow_framework.2.dylib'],
};

/** Throws a UserError that says how to get a compiler, where one is needed and none is there. */
export async function requireCompiler(version: string): Promise<void> {
  if (!builtBefore(version)) await anyCompiler();
}

/** Puts the binding into the runtime's folder: one built before for this platform and version, or a new one. */
export async function makeBinding({ folder, version, fresh = false, signal }: BindingOptions): Promise<void> {
  const target = path.join(folder, bindingPath);
  await fs.promises.mkdir(path.dirname(target), { recursive: true });
  const before = fresh ? null : builtBefore(version);
  if (before) return fs.promises.copyFile(before, target);
  await compile(target, { folder, signal });
  await keep(target, version);
}

/** Every binding that was kept. */
export async function forgetBindings(): Promise<void> {
  await fs.promises.rm(path.dirname(keptPath('')), { recursive: true, force: true });
}

async function compile(target: string, { folder, signal }: Pick<BindingOptions, 'folder' | 'signal'>): Promise<void> {
  const compiler = await anyCompiler();
  const { code, words } = await runCompiler({ command: compiler }, compilerArguments(folder, target), signal);
  if (code === 0) return;
  throw new UserError({
    what: `the binding to TensorFlow does not compile (${compiler} ended with ${code}):\n${errorLines(words)}`,
    remedy: 'A compiler with C++17 is needed (GCC 9 or newer, Clang 10 or newer); name another one in the variable CXX.',
  });
}

async function anyCompiler(): Promise<string> {
  const compiler = await findCompiler();
  if (compiler) return compiler;
  throw new UserError({ what: 'there is no C++ compiler, which the binding to TensorFlow is built with', remedy: compilerRemedy() });
}

function compilerArguments(folder: string, target: string): string[] {
  const { sources, headers } = nativeSources();
  const site = path.join(folder, 'site', 'tensorflow');
  const isMac = process.platform === 'darwin';
  return [
    '-std=c++17', '-O2', '-fPIC', '-w', ...isMac ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared'], '-DNAPI_VERSION=8', '-DNODE_GYP_MODULE_NAME=tfjs_binding',
    `-I${path.join(site, 'include')}`, `-I${headers}`, ...['tfjs_backend.cc', 'tfjs_binding.cc'].map(name => path.join(sources, name)),
    '-o', target, ...(libraryNames[process.platform] ?? []).map(name => path.join(site, name)),
    `-Wl,-rpath,${isMac ? '@loader_path' : '$ORIGIN'}/../site/tensorflow`,
  ];
}

/** Beside the bundle, in dist/native; a test's bundle lies deeper and finds them from the repository's folder. */
function nativeSources(): { sources: string; headers: string } {
  const candidates = [path.join(__dirname, 'native'), path.resolve('dist/native')];
  const folder = candidates.find(one => fs.existsSync(path.join(one, 'binding/tfjs_binding.cc')));
  if (!folder) throw new UserError({ what: 'the sources of the binding to TensorFlow are missing', where: candidates[0], remedy: 'Install PEFT Lab again, or run `npm run build`.' });
  return { sources: path.join(folder, 'binding'), headers: path.join(folder, 'node-api') };
}

/** Shipped for this platform, or kept from an earlier installation; null where there is none. */
function builtBefore(version: string): string | null {
  const { sources } = nativeSources();
  const candidates = [path.join(path.dirname(sources), 'prebuilt', path.basename(keptPath(version))), keptPath(version)];
  return candidates.find(file => fs.existsSync(file)) ?? null;
}

/** One file for each platform, TensorFlow and text of the sources. */
export function keptPath(version: string): string {
  const { sources } = nativeSources();
  const hash = createHash('sha256');
  for (const name of fs.readdirSync(sources).sort()) hash.update(fs.readFileSync(path.join(sources, name)));
  return path.join(cacheFolder(), 'bindings', `tfjs_binding-${process.platform}-${process.arch}-tensorflow-${version}-${hash.digest('hex').slice(0, 12)}.node`);
}

/** A cache that cannot be written costs a compiler run next time, no more. */
async function keep(file: string, version: string): Promise<void> {
  const kept = keptPath(version);
  try {
    await fs.promises.mkdir(path.dirname(kept), { recursive: true });
    await fs.promises.copyFile(file, `${kept}.${process.pid}`);
    await fs.promises.rename(`${kept}.${process.pid}`, kept);
  } catch { /* see above */ }
}
