// TypeScript types of the parts of ONNX and of TensorFlow's SavedModel that are written, from the .proto files beside them.
// `node tools/generate-protobuf-types.mjs` prints them as JSON, by file.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const definitions = ['src/engine/onnx/onnx.proto', 'src/engine/tensorflow/saved-model.proto'];

/** What the types should be, by the file that they are kept in. */
export function protobufTypes() {
  return Object.fromEntries(definitions.map(file => {
    const name = `${path.basename(file, '.proto')}_pb.ts`;
    return [path.posix.join(path.posix.dirname(file), 'generated', name), generateTypes(file, name)];
  }));
}

function generateTypes(file, name) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-protobuf-'));
  try {
    const plugin = [process.execPath, path.join(root, 'node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es')];
    const template = JSON.stringify({ version: 'v2', plugins: [{ local: plugin, out: folder, opt: 'target=ts' }] });
    const buf = path.join(root, 'node_modules/@bufbuild/buf/bin/buf');
    execFileSync(process.execPath, [buf, 'generate', path.basename(file), '--template', template], {
      cwd: path.join(root, path.dirname(file)), env: { ...process.env, HOME: folder, XDG_CACHE_HOME: folder }, stdio: ['ignore', 'ignore', 'inherit'],
    });
    return fs.readFileSync(path.join(folder, name), 'utf8');
  } finally {
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(JSON.stringify(protobufTypes()));
