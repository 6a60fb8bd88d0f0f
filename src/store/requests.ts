/** What users ask of a running launcher or worker, as small files that those look at. Works where signals do not. */
import fs from 'node:fs';
import path from 'node:path';
import { writing } from './files';

/** Asks the launcher of a store, or the worker of a trial, to checkpoint and end. */
export function requestCancel(folder: string): void {
  const file = requestFile(folder);
  writing(file, () => fs.writeFileSync(file, `${Date.now()}\n`));
}

export function cancelRequested(folder: string): boolean {
  return fs.existsSync(requestFile(folder));
}

/** Forgets a request made before `madeBefore` (milliseconds since 1970), so that an old one does not stop a new run. */
export function clearCancelRequest(folder: string, madeBefore = Infinity): void {
  const file = requestFile(folder);
  const made = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
  if (made !== undefined && made < madeBefore) fs.rmSync(file, { force: true });
}

function requestFile(folder: string): string {
  return path.join(folder, 'cancel-request');
}
