import fs from 'node:fs';
import { hasCode } from './errors';

/**
 * Renames a finished temporary file over its target. Windows refuses while a virus scanner or another reader has the
 * target open, for a moment; so do some network drives. Those refusals are tried again for about two seconds.
 */
export async function replaceFile(temporary: string, target: string): Promise<void> {
  for (let wait = 10; ; wait *= 2) {
    try {
      return await fs.promises.rename(temporary, target);
    } catch (error) {
      if (!mayPass(error, wait)) throw error;
      await new Promise(resolve => setTimeout(resolve, wait));
    }
  }
}

/** The same without giving the event loop a turn. */
export function replaceFileSync(temporary: string, target: string): void {
  for (let wait = 10; ; wait *= 2) {
    try {
      return fs.renameSync(temporary, target);
    } catch (error) {
      if (!mayPass(error, wait)) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, wait);
    }
  }
}

function mayPass(error: unknown, wait: number): boolean {
  return wait <= 1000 && hasCode(error, 'EPERM', 'EACCES', 'EBUSY');
}
