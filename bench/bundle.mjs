// Bundles what of bench/ is written in TypeScript into dist/bench: `node bench/bundle.mjs`.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { common, natives, root } from '../esbuild.mjs';

const bench = path.dirname(fileURLToPath(import.meta.url));

export async function bundle() {
  const entryPoints = { step: path.join(bench, 'step.ts'), draws: path.join(bench, 'draws.ts'), runtimes: path.join(root, 'src/common/runtimes.ts') };
  await build({ ...common(), entryPoints, outdir: 'dist/bench', platform: 'node', format: 'cjs', target: 'node20', external: natives, mainFields: ['module', 'main'], outExtension: { '.js': '.cjs' } });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle();
