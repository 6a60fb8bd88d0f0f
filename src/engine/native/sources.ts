/**
 * The C sources of the kernels, how they are compiled, and the version that follows from both, by which an addon that was
 * compiled from others is known. They lie in dist/native beside the headers of Node-API: users' machines compile them too.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { version } from '../../../package.json';
import { UserError } from '../../common/errors';

export interface KernelSources {
  /** With kernels.c, addon.c, what else they are made of, and headers. */
  sources: string;
  /** Of Node-API. */
  headers: string;
}

/** An instruction set that kernels.c is compiled for, with VARIANT defined as its name. */
export interface KernelVariant {
  name: string;
  flags: readonly string[];
  /** Compilers that are still in use do not know it; the addon is compiled without it there. */
  optional: boolean;
}

/** What engines load. */
export const kernelsFile = 'peft-lab-kernels.node';

export const kernelFlags = ['-O3', '-std=gnu11', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math', '-fPIC'] as const;

const variants: Record<string, readonly KernelVariant[]> = {
  x64: [
    { name: 'avx2', flags: ['-mavx2', '-mfma'], optional: false },
    { name: 'avx512', flags: ['-mavx512f', '-mavx512dq', '-mavx512bw', '-mavx512vl', '-mavx2', '-mfma', '-mprefer-vector-width=512'], optional: true },
  ],
  arm64: [{ name: 'neon', flags: [], optional: false }],
};

/** None where there are no kernels for this kind of processor. */
export function kernelVariants(arch: string = process.arch): readonly KernelVariant[] {
  return variants[arch] ?? [];
}

/** `0.1.0-3f2a90c41b7d`: of PEFT Lab and of the sources. */
export function kernelsVersion({ sources }: Pick<KernelSources, 'sources'> = kernelSources(), arch: string = process.arch): string {
  const hash = createHash('sha256').update(JSON.stringify([kernelFlags, kernelVariants(arch)]));
  for (const name of fs.readdirSync(sources).sort()) hash.update(`\0${name}\0`).update(fs.readFileSync(path.join(sources, name)));
  return `${version}-${hash.digest('hex').slice(0, 12)}`;
}

/** In dist/native. */
export function kernelSources(): KernelSources {
  const folder = nativeFolders().find(one => fs.existsSync(path.join(one, 'kernels/kernels.c')));
  if (!folder) throw new UserError({ what: 'the sources of the kernels are missing', where: nativeFolders()[0], remedy: 'Install PEFT Lab again, or run `npm run build`.' });
  return { sources: path.join(folder, 'kernels'), headers: path.join(folder, 'node-api') };
}

/** The addon that the build compiled, or that came with PEFT Lab; null where there is none. */
export function builtKernels(): string | null {
  return nativeFolders().map(folder => path.join(folder, kernelsFile)).find(file => fs.existsSync(file)) ?? null;
}

/** Beside the bundle; a test's bundle lies deeper and finds it from the repository's folder. */
function nativeFolders(): string[] {
  return [path.join(__dirname, 'native'), path.resolve('dist/native')];
}
