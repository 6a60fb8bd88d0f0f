/**
 * NVIDIA's libraries of a runtime, loaded by their paths before anything asks for them by name: what is loaded already
 * answers to its name, so that neither another CUDA on the library path nor that of another runtime comes between.
 */
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import type { Runtime } from '../common/runtimes';

/** What ONNX Runtime's CUDA part asks for; each finds what it needs itself beside it. */
const wanted = /^lib(cudart|cublas|cublasLt|curand|cufft|cudnn|nvrtc)\.so\.\d+$/;

/** glibc's RTLD_LAZY, and RTLD_NODELETE, without which Node.js' complaint that this is no module would unload it again. */
const stayLoaded = 0x1 | 0x1000;

/** Linux only. Throws a UserError where there is no driver, whose library is the one that no runtime can bring. */
export function loadNvidiaLibraries(runtime: Runtime): void {
  const noDriver = load('libcuda.so.1');
  if (noDriver) {
    throw new UserError({
      what: `there is no NVIDIA driver on this machine (${noDriver})`, where: runtime.folder,
      remedy: 'Install the driver of your GPU (version 580 or newer), or use another engine.',
    });
  }
  for (const folder of runtime.libraries.map(name => path.join(runtime.folder, name))) {
    for (const name of fs.readdirSync(folder).filter(file => wanted.test(file))) load(path.join(folder, name));
  }
}

/** Null when it is loaded; else the linker's words. */
function load(library: string): string | null {
  try {
    process.dlopen({ exports: {} }, library, stayLoaded);
    return null;
  } catch (error) {
    const { message } = error as Error;
    return /did not self-register/.test(message) ? null : message;
  }
}
