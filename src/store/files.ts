/**
 * Reading and writing as the store does it: appended lines, or a temporary file that is renamed. Writes are synchronous:
 * they are small, and a worker writes them between two steps.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { hasCode, UserError } from '../common/errors';
import { replaceFileSync } from '../common/replace-file';

/**
 * Writes a whole file so that readers see the old content or the new one, never a part, and a crash leaves one of them.
 * Creates the folder. A full disk is a UserError.
 */
export function writeAtomic(file: string, data: string | Uint8Array): void {
  const temporary = `${file}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  writing(file, () => {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    try {
      writeAndSync(temporary, data);
      replaceFileSync(temporary, file);
    } catch (error) {
      fs.rmSync(temporary, { force: true });
      throw error;
    }
  });
}

export function writeJson(file: string, value: unknown): void {
  writeAtomic(file, `${JSON.stringify(value, null, 2)}\n`);
}

/** Appends one JSON value as a line, after a torn line of a crashed writer if there is one. */
export function appendLine(file: string, value: unknown): void {
  writing(file, () => {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const descriptor = fs.openSync(file, 'a+');
    try {
      fs.writeSync(descriptor, `${endsTorn(descriptor) ? '\n' : ''}${JSON.stringify(value)}\n`);
    } finally {
      fs.closeSync(descriptor);
    }
  });
}

/** The file's JSON value; null where there is no such file. Anything but JSON is a UserError. */
export function readJson(file: string): unknown {
  const text = readTextIfThere(file);
  if (text === null) return null;
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new UserError({ what: 'this file is not JSON', where: file, remedy: 'Delete it; what it held is computed again.', cause });
  }
}

/** The values of a file of JSON lines; lines that a crash tore are left out. Empty where there is no such file. */
export function readLines(file: string): unknown[] {
  return parseLines(readTextIfThere(file) ?? '');
}

/** Complete lines only: what follows the last newline is still being written. */
export function parseLines(text: string): unknown[] {
  const complete = text.slice(0, text.lastIndexOf('\n') + 1);
  return complete.split('\n').flatMap(line => {
    try {
      return line.trim() ? [JSON.parse(line) as unknown] : [];
    } catch {
      return []; // torn by a crash, and written after since
    }
  });
}

export function readTextIfThere(file: string): string | null {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null;
    throw error;
  }
}

/** Runs a write and turns what its user can mend (no space, no permission) into a UserError. */
export function writing<T>(file: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    throw writeError(file, error);
  }
}

/** What to throw for a failed write to `file`. */
export function writeError(file: string, error: unknown): unknown {
  const where = path.dirname(file);
  if (hasCode(error, 'ENOSPC', 'EDQUOT')) {
    return new UserError({ what: 'the disk is full', where, remedy: 'Free some space there, or set "output" in the study to a folder on another disk; then run again: what is finished is kept.', cause: error });
  }
  if (hasCode(error, 'EROFS', 'EACCES', 'EPERM')) {
    return new UserError({ what: `cannot write ${path.basename(file)} here`, where, remedy: 'Make the folder writable, or set "output" in the study to one that is.', cause: error });
  }
  if (hasCode(error, 'EISDIR', 'ENOTDIR', 'EEXIST')) {
    return new UserError({ what: `cannot write ${path.basename(file)} here: a folder has a file's name, or a file a folder's`, where, remedy: 'Choose another name or folder.', cause: error });
  }
  return error;
}

function writeAndSync(file: string, data: string | Uint8Array): void {
  const descriptor = fs.openSync(file, 'wx');
  try {
    fs.writeFileSync(descriptor, data);
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

function endsTorn(descriptor: number): boolean {
  const { size } = fs.fstatSync(descriptor);
  if (size === 0) return false;
  const last = Buffer.alloc(1);
  fs.readSync(descriptor, last, 0, 1, size - 1);
  return last[0] !== 0x0a;
}
