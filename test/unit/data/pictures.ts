/** Temporary folders and small image files for the tests of this folder. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import sharp from 'sharp';

export function temporaryFolder(t: TestContext): string {
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-data-')));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** u8 [height, width, 3] that differ for every seed. */
export function pattern(width: number, height: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length: width * height * 3 }, (_, i) => (Math.imul(i + 1, 2654435761 + seed * 40503) >>> 13) & 255);
}

/** Writes PNGs of 8 x 6 pixels, each of its own content, and creates their folders. */
export async function writePictures(root: string, files: readonly string[], firstSeed = 1): Promise<void> {
  for (const [i, file] of files.entries()) {
    fs.mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    await sharp(pattern(8, 6, firstSeed + i), { raw: { width: 8, height: 6, channels: 3 } }).png().toFile(path.join(root, file));
  }
}

export function writeText(root: string, file: string, lines: readonly string[]): void {
  fs.mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
  fs.writeFileSync(path.join(root, file), `${lines.join('\n')}\n`);
}
