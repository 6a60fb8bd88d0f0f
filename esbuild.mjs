// Builds everything that ships: one table of bundles, one loop. `node esbuild.mjs [--watch]`.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, context } from 'esbuild';

export const root = path.dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);

/** Native packages are never bundled; they are found in node_modules at run time, and never by the extension host. */
export const natives = ['onnxruntime-node', 'sharp'];

const node = {
  platform: 'node', format: 'cjs', target: 'node20', external: natives, outExtension: { '.js': '.cjs' },
  mainFields: ['module', 'main'], // tfjs-core's "main" registers no gradients
};
const bundles = [
  { ...node, entryPoints: { extension: 'src/extension/extension.ts' }, external: ['vscode'], plugins: [methodTable(), besides({ zod: './zod.cjs' })] },
  // The larger half of what the extension needs, and only when a study is read: activation must not wait for it.
  { ...node, entryPoints: { zod: 'node_modules/zod/index.js' }, minify: true },
  { ...node, entryPoints: { cli: 'src/cli/cli.ts', worker: 'src/worker/worker.ts', probe: 'src/worker/probe.ts', 'runtime-check': 'src/runtime/check-process.ts', 'batch-loader': 'src/data/batch-loader.ts' } },
  { entryPoints: { panel: 'webview/panel.ts' }, platform: 'browser', format: 'iife', target: 'es2022', outdir: 'dist/webview' },
];

export function common(overrides = {}) {
  return {
    absWorkingDir: root, bundle: true, sourcemap: true, outdir: 'dist', logLevel: 'warning', legalComments: 'none',
    define: { 'process.env.NODE_ENV': '"production"' },
    alias: { '@tensorflow/tfjs': path.join(root, 'src/engine/tensorflow/tfjs-family.ts') }, // for tfjs-node's kernels
    plugins: [methodTable()],
    ...overrides,
  };
}

/** `import methods from 'methods:all'` is every file of src/methods, by id: a new method is one new file. */
function methodTable() {
  return {
    name: 'method-table',
    setup(builder) {
      builder.onResolve({ filter: /^methods:all$/ }, () => ({ path: 'all', namespace: 'methods' }));
      builder.onLoad({ filter: /.*/, namespace: 'methods' }, () => {
        const folder = path.join(root, 'src/methods');
        const ids = fs.readdirSync(folder).filter(f => f.endsWith('.ts') && !f.endsWith('.d.ts')).map(f => f.slice(0, -3)).sort();
        const imports = ids.map((id, i) => `import m${i} from ${JSON.stringify(path.join(folder, `${id}.ts`))};`);
        return {
          contents: `${imports.join('\n')}\nexport default {${ids.map((id, i) => `${JSON.stringify(id)}: m${i}`).join(', ')}};`,
          resolveDir: folder, loader: 'js', watchDirs: [folder],
        };
      });
    },
  };
}

/** Leaves packages out of a bundle that lie beside it in bundles of their own. */
function besides(packages) {
  return {
    name: 'besides',
    setup(builder) {
      for (const [name, file] of Object.entries(packages)) builder.onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: file, external: true }));
    },
  };
}

/** The wasm binaries that tfjs loads from a folder at run time, and the sources of TensorFlow's binding and of the kernels. */
function copyAssets(folder) {
  const wasm = path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json'));
  fs.mkdirSync(path.resolve(root, folder), { recursive: true });
  for (const file of ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm']) {
    fs.copyFileSync(path.join(wasm, 'dist', file), path.resolve(root, folder, file));
  }
  // What `peft-lab runtime install` compiles on the user's machine.
  copyFolder(path.join(path.dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json')), 'binding'), path.resolve(root, folder, 'native/binding'));
  copyFolder(path.join(path.dirname(require.resolve('node-api-headers/package.json')), 'include'), path.resolve(root, folder, 'native/node-api'));
  copyFolder(path.join(root, 'src/engine/native/kernels'), path.resolve(root, folder, 'native/kernels'));
}

/** What is no longer there goes: every source is compiled. */
function copyFolder(from, to) {
  fs.cpSync(from, to, { recursive: true });
  for (const name of fs.readdirSync(to)) if (!fs.existsSync(path.join(from, name))) fs.rmSync(path.join(to, name), { recursive: true });
}

/** The native addon of the kernels, by the code that compiles it on the user's machine too. */
async function compileKernels(folder) {
  const outfile = path.join(root, 'dist/tools/build-kernels.cjs');
  await build(common({ ...node, outExtension: undefined, outdir: undefined, entryPoints: ['tools/build-kernels.ts'], outfile, sourcemap: false }));
  for (const line of await require(outfile).buildKernels(path.resolve(root, folder, 'native'))) console.error(line);
}

/** `folder` takes the place of dist/. */
export async function buildAll({ watch = false, production = false, folder = 'dist' } = {}) {
  copyAssets(folder);
  for (const bundle of bundles) {
    const entries = Object.values(bundle.entryPoints);
    const missing = entries.filter(f => !fs.existsSync(path.join(root, f)));
    if (missing.length) throw new Error(`no such source file: ${missing.join(', ')}`);
    const outdir = path.join(folder, path.relative('dist', bundle.outdir ?? 'dist'));
    const options = common({ minify: production, ...bundle, outdir, sourcemap: !production });
    if (watch) await (await context(options)).watch();
    else await build(options);
  }
  await compileKernels(folder);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildAll({ watch: process.argv.includes('--watch'), production: process.argv.includes('--production') });
}
