/**
 * The addon of the kernels: kernels.c compiled once for each instruction set, and every other source once with HAS_AVX2
 * and the like for those that there are, linked to one library. Node-API is stable: it serves every Node.js.
 */
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { replaceFile } from '../common/replace-file';
import { kernelFlags, kernelVariants, type KernelSources, type KernelVariant } from '../engine/native/sources';
import { errorLines, runCompiler, type Compiler } from './run-compiler';

export interface CompileKernelsOptions extends KernelSources {
  compiler: Compiler;
  /** Gets its name when it is whole. */
  target: string;
  signal?: AbortSignal | undefined;
}

export interface CompiledKernels {
  /** Instruction sets that the compiler does not know, with its words. */
  without: { name: string; words: string }[];
}

/** A UserError with the compiler's words when it fails; the signal's reason when aborted. Leaves nothing else behind. */
export async function compileKernels({ target, ...options }: CompileKernelsOptions): Promise<CompiledKernels> {
  await fs.promises.mkdir(path.dirname(target), { recursive: true });
  const folder = await fs.promises.mkdtemp(path.join(path.dirname(target), '.compile-'));
  try {
    const { file, without } = await compileInto(folder, options);
    await replaceFile(file, target);
    return { without };
  } finally {
    await fs.promises.rm(folder, { recursive: true, force: true, maxRetries: 5 }); // a compiler that was ended may still write
  }
}

type Options = Omit<CompileKernelsOptions, 'target'>;

async function compileInto(folder: string, options: Options): Promise<CompiledKernels & { file: string }> {
  const outcomes = await settled(kernelVariants().map(variant => compileVariant(variant, folder, options)));
  const without = outcomes.flatMap(({ variant: { name }, words }) => words === null ? [] : [{ name, words }]);
  const there = outcomes.filter(({ words }) => words === null);
  const defined = there.map(({ variant }) => `-DHAS_${variant.name.toUpperCase()}`);
  const others = (await fs.promises.readdir(options.sources)).filter(name => name.endsWith('.c') && name !== 'kernels.c').sort();
  const objects = await settled(others.map(name => compileOther({ name, folder, defined }, options)));
  const file = path.join(folder, 'addon.node');
  requireSuccess(await runCompiler(options.compiler, ['-shared', ...there.map(({ object }) => object), ...objects, ...linkFlags(), '-o', file], options.signal), options);
  return { file, without };
}

interface VariantOutcome {
  variant: KernelVariant;
  object: string;
  /** The compiler's, where it does not know the instruction set; null when it has compiled. */
  words: string | null;
}

async function compileVariant(variant: KernelVariant, folder: string, options: Options): Promise<VariantOutcome> {
  const object = path.join(folder, `kernels-${variant.name}.o`);
  const end = await compile('kernels.c', [`-DVARIANT=${variant.name}`, ...variant.flags, '-o', object], options);
  if (!variant.optional) requireSuccess(end, options);
  return { variant, object, words: end.code === 0 ? null : errorLines(end.words) };
}

async function compileOther({ name, folder, defined }: { name: string; folder: string; defined: readonly string[] }, options: Options): Promise<string> {
  const object = path.join(folder, name.replace(/c$/, 'o'));
  requireSuccess(await compile(name, [...defined, '-o', object], options), options);
  return object;
}

function compile(name: string, args: readonly string[], { sources, headers, compiler, signal }: Options) {
  return runCompiler(compiler, [...kernelFlags, `-I${headers}`, ...args, '-c', path.join(sources, name)], signal);
}

/** Node-API's functions come from the program that loads it. Without -O3 zig builds its own libraries for debugging first. */
function linkFlags(): string[] {
  return ['-O3', ...process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : ['-lm', '-lpthread', '-ldl']];
}

function requireSuccess({ code, words }: { code: number | string; words: string }, { compiler }: Options): void {
  if (code === 0) return;
  throw new UserError({
    what: `the kernels do not compile (${compiler.command} ended with ${code}):\n${errorLines(words)}`,
    remedy: 'A C compiler with the headers of the C library is needed (GCC 9 or newer, Clang 10 or newer); name another one in the variable CC.',
  });
}

/** Waits for all of them even if one fails: what runs still writes into the folder. */
async function settled<Result>(tasks: readonly Promise<Result>[]): Promise<Result[]> {
  await Promise.allSettled(tasks);
  return Promise.all(tasks);
}
