/** A file of named tensors, safetensors or npz, told by its content. PyTorch's own files are pickles and never opened. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import { openNpz, openZip, type ZipReader } from './npz';
import { openSafetensors } from './safetensors';

export interface TensorFile {
  path: string;
  /** Empty for npz. */
  metadata: Readonly<Record<string, string>>;
  tensors: ReadonlyMap<string, { dtype: string; shape: readonly number[] }>;
  /** Floating point of 16 to 64 bits as float32, row-major; UserError for another dtype or name. */
  read(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/** UserErrors: no such file, damaged, of an unknown kind, or a pickle (with how to convert it). */
export async function openTensorFile(file: string): Promise<TensorFile> {
  if (/\.(bin|pt|pth|ckpt|pkl|pickle)$/i.test(file)) throw pickleError(file);
  const first = await firstBytes(file);
  if (first[0] === 0x80 && first[1]! >= 2 && first[1]! <= 5) throw pickleError(file);
  if (first.subarray(0, 2).toString('latin1') === 'PK') return openZipped(file);
  if (first.toString('latin1') === '\x89HDF\r\n\x1a\n') throw unsupported(file, 'this is an HDF5 file (Keras)');
  return openSafetensors(file);
}

/** What to say of a PyTorch file, which could run any program when it is opened. */
export function pickleError(file: string, { isTorchScript = false } = {}): UserError {
  const name = path.basename(file);
  const target = name.replace(/\.[^.]*$/, '') + '.safetensors';
  const load = isTorchScript
    ? `d = torch.jit.load('${name}', map_location='cpu').state_dict()`
    : `d = torch.load('${name}', map_location='cpu', weights_only=True); d = d.get('model', d.get('state_dict', d))`;
  return new UserError({
    what: 'this is a PyTorch pickle, which can run any program when it is opened; PEFT Lab reads safetensors and npz only', where: file,
    remedy: 'On the hub, most models have a model.safetensors beside it. Or convert it where you trust it: ' +
      `python -c "import torch; from safetensors.torch import save_file; ${load}; save_file({k: v.clone().contiguous() for k, v in d.items() if hasattr(v, 'shape')}, '${target}')"`,
  });
}

async function openZipped(file: string): Promise<TensorFile> {
  const zip = await openZip(file);
  try {
    refusePickles(file, zip);
    return await openNpz(file, zip);
  } catch (error) {
    zip.close();
    throw error;
  }
}

function refusePickles(file: string, { names }: ZipReader): void {
  if (names.some(name => /(^|\/)data\.pkl$/.test(name))) throw pickleError(file, { isTorchScript: names.some(name => /(^|\/)constants\.pkl$/.test(name)) });
  if (!names.some(name => name.endsWith('.npy'))) throw unsupported(file, 'this is a zip archive without arrays of NumPy in it');
}

async function firstBytes(file: string): Promise<Buffer> {
  const handle = await fs.open(file, 'r').catch(() => null);
  if (!handle) return Buffer.alloc(0); // whoever opens it next says why
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(8), 0, 8, 0).catch(() => ({ bytesRead: 0, buffer: Buffer.alloc(0) }));
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

function unsupported(file: string, what: string): UserError {
  return new UserError({ what, where: file, remedy: 'Name a safetensors file, or one of Google\'s npz files.' });
}
