// `node tools/pretrain.mjs`: makes media/backbone/drawn-vit.safetensors, the embedded backbone. See tools/pretrain.ts.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { build } from 'esbuild';
import { common, natives, root } from '../esbuild.mjs';

await build({
  ...common(), entryPoints: { pretrain: 'tools/pretrain.ts' }, outdir: 'dist/tools', platform: 'node', format: 'cjs', target: 'node20',
  external: natives, mainFields: ['module', 'main'], outExtension: { '.js': '.cjs' },
});
const done = spawnSync(process.execPath, [path.join(root, 'dist/tools/pretrain.cjs'), ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
process.exit(done.status ?? 1);
