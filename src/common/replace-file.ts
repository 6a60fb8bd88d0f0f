import fs from 'node:fs/promises';

/**
 * Renames a finished temporary file over its target. Windows refuses while a virus scanner or another reader has the
 * target open, for a moment; so those refusals are tried again for about two seconds.
 */
export async function replaceFile(temporary: string, target: string): Promise<void> {
  for (let wait = 10; ; wait *= 2) {
    try {
      return await fs.rename(temporary, target);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? '';
      if (wait > 1000 || !['EPERM', 'EACCES', 'EBUSY'].includes(code)) throw error;
      await new Promise(resolve => setTimeout(resolve, wait));
    }
  }
}
