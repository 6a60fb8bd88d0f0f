// TypeScript types of the part of ONNX that is written, from src/engine/onnx/onnx.proto.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const source = path.join(root, 'src/engine/onnx');

/** Where the types are kept, and what they should be. */
export function onnxTypes() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-onnx-'));
  try {
    const plugin = [process.execPath, path.join(root, 'node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es')];
    const template = JSON.stringify({ version: 'v2', plugins: [{ local: plugin, out: folder, opt: 'target=ts' }] });
    execFileSync(process.execPath, [path.join(root, 'node_modules/@bufbuild/buf/bin/buf'), 'generate', 'onnx.proto', '--template', template], {
      cwd: source, env: { ...process.env, HOME: folder, XDG_CACHE_HOME: folder }, stdio: ['ignore', 'ignore', 'inherit'],
    });
    return { file: 'src/engine/onnx/generated/onnx_pb.ts', text: fs.readFileSync(path.join(folder, 'onnx_pb.ts'), 'utf8') };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(onnxTypes().text);
