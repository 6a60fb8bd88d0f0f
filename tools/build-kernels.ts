/**
 * Compiles the kernels beside the bundles, for the engine `native`. Costs nothing where they are there already, compiled
 * from these sources. Where they cannot be compiled, the build goes on without them, and says so.
 */
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../src/common/errors';
import { kernelsFile, kernelsVersion, kernelVariants, type KernelSources } from '../src/engine/native/sources';
import { compileKernels } from '../src/runtime/compile-kernels';
import { findCCompiler } from '../src/runtime/platform';

/** `folder`: what dist/native is. Resolves with what there is to say, a line each. */
export async function buildKernels(folder: string): Promise<string[]> {
  if (process.platform === 'win32' || kernelVariants().length === 0) return [];
  const own: KernelSources = { sources: path.join(folder, 'kernels'), headers: path.join(folder, 'node-api') };
  const target = path.join(folder, kernelsFile), stamp = `${target}.version`, version = kernelsVersion(own);
  if (fs.existsSync(target) && readIfThere(stamp) === version) return [];
  fs.rmSync(target, { force: true }); // of other sources: no engine may load it
  const command = await findCCompiler();
  if (!command) return ['There is no C compiler: the engine native will be missing. `peft-lab runtime install kernels` compiles it with one that it fetches.'];
  try {
    const { without } = await compileKernels({ ...own, target, compiler: { command } });
    fs.writeFileSync(stamp, version);
    return without.map(({ name, words }) => `The kernels were compiled without ${name}, which ${command} does not know: ${words.split('\n')[0]}`);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return [`The engine native will be missing: ${error.message}`];
  }
}

function readIfThere(file: string): string | null {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : null;
}
