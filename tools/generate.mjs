// `npm run generate`: writes what is derived from the sources and kept in git (media/study.schema.json,
// media/methods.json, the pages of media/methods, the README's table of methods and the types of ONNX and SavedModel). test/unit/common/generated.test.ts fails when they are stale.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { common, natives, root } from '../esbuild.mjs';
import { protobufTypes } from './generate-protobuf-types.mjs';

/** The files' contents by their path in the repository. */
export async function generate() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-generate-'));
  try {
    const outfile = path.join(folder, 'generated.cjs');
    await build({
      ...common(), outdir: undefined, outfile, sourcemap: false, platform: 'node', format: 'cjs', external: natives,
      mainFields: ['module', 'main'],
      stdin: { contents: 'export * from "./tools/generated-files"', resolveDir: root, loader: 'ts' },
    });
    return { ...createRequire(import.meta.url)(outfile).generatedFiles(), ...protobufTypes() };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const [file, text] of Object.entries(await generate())) {
    fs.mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    fs.writeFileSync(path.join(root, file), text);
    console.log(`wrote ${file}`);
  }
}
