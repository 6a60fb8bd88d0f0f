// Takes the README's pictures in a real VS Code: `node tools/screenshots.mjs STUDY.peft.json`, a study that was run and
// whose folder is fit to be seen. Writes media/screenshots/.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { root, runCommand, setUp } from './setup.mjs';

const [study] = process.argv.slice(2);
if (!study) {
  console.error('Usage: node tools/screenshots.mjs STUDY.peft.json');
  process.exit(2);
}
await setUp();
const { build } = await import('esbuild');
const { common, natives } = await import('../esbuild.mjs');
const script = path.join(root, 'dist/test/vscode/screenshots.cjs');
await build({ ...common({ sourcemap: false }), entryPoints: ['test/vscode/screenshots.ts'], outdir: undefined, outfile: script, platform: 'node', format: 'cjs', mainFields: ['module', 'main'], external: [...natives, 'playwright-core'] });
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-screenshots-'));
try {
  const vsix = path.join(folder, 'peft-lab.vsix');
  runCommand(process.execPath, [path.join(root, 'tools/package.mjs'), '--out', vsix], { shell: false });
  runCommand(process.execPath, [script, vsix, path.resolve(study), path.join(root, 'media/screenshots')], { shell: false });
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
