/** Image files below a data root: finding them, and refusing what leads out of it. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import { imageEndings } from '../common/image-names';

/** Whether a name counts as an image in folders. */
export function isImageName(name: string): boolean {
  return !name.startsWith('.') && imageEndings.has(path.extname(name).toLowerCase());
}

export interface Folder {
  /** Names of the images directly in it, sorted. */
  images: string[];
  /** Names of the folders in it, sorted; hidden ones left out. */
  folders: string[];
}

/** What lies directly in a folder of the data root. Symbolic links are followed as long as they stay inside the root. */
export async function readFolder(root: string, relative: string): Promise<Folder> {
  const entries = await fs.readdir(path.join(root, relative), { withFileTypes: true });
  const found: Folder = { images: [], folders: [] };
  for (const entry of entries) {
    if (entry.name.startsWith('.') || entry.name === '__MACOSX') continue;
    const kind = entry.isSymbolicLink() ? await linkedKind(root, join(relative, entry.name)) : entry;
    if (kind.isDirectory()) found.folders.push(entry.name);
    else if (kind.isFile() && isImageName(entry.name)) found.images.push(entry.name);
  }
  found.images.sort(byCodeUnits);
  found.folders.sort(byCodeUnits);
  return found;
}

async function linkedKind(root: string, relative: string) {
  return fs.stat(await resolveInside(root, relative, relative));
}

/** All images below a folder of the root, as sorted paths relative to the root. */
export async function walkImages(root: string, relative: string): Promise<string[]> {
  const found: string[] = [];
  // A link to a folder above itself would never end; real paths on the way down show it.
  const walk = async (folder: string, above: readonly string[]): Promise<void> => {
    const real = await fs.realpath(path.join(root, folder));
    if (above.includes(real)) return;
    const { images, folders } = await readFolder(root, folder);
    found.push(...images.map(name => join(folder, name)));
    for (const name of folders) await walk(join(folder, name), [...above, real]);
  };
  await walk(relative, []);
  return found.sort(byCodeUnits);
}

/** A path as samples carry it: relative to the root, forward slashes, no `.` parts. Refuses one that leads out. */
export function relativePath(text: string, where: string): string {
  const slashed = text.replaceAll('\\', '/');
  const normal = path.posix.normalize(slashed);
  const leaves = path.posix.isAbsolute(slashed) || path.win32.isAbsolute(text) || /^[A-Za-z]:/.test(text) || normal === '..' || normal.startsWith('../');
  if (leaves) throw leavesRoot(text, where);
  return normal;
}

/** The real path of a file that must exist inside the root (itself a real path); `where` says who named it. */
export async function resolveInside(root: string, relative: string, where: string): Promise<string> {
  let real: string;
  try {
    real = await fs.realpath(path.join(root, relative));
  } catch (error) {
    throw new UserError({ what: `there is no file ${path.join(root, relative)}`, where, remedy: 'Correct the path, which is relative to the data set\'s folder, or remove the line.', cause: error });
  }
  const inside = path.relative(root, real);
  if (inside === '..' || inside.startsWith(`..${path.sep}`) || path.isAbsolute(inside)) throw leavesRoot(relative, where);
  return real;
}

function leavesRoot(text: string, where: string): UserError {
  return new UserError({ what: `the path "${text}" leads out of the data set's folder`, where, remedy: 'Use paths inside that folder, without symbolic links to other places.' });
}

/** The folder's real path; a UserError where there is none. */
export async function dataRoot(folder: string, where: string): Promise<string> {
  try {
    const real = await fs.realpath(folder);
    if ((await fs.stat(real)).isDirectory()) return real;
  } catch { /* reported below */ }
  throw new UserError({ what: `there is no folder ${folder}`, where, remedy: 'Correct "path" of the data set; it is relative to the study file.' });
}

/** As text is ordered everywhere, whatever the machine's language. */
export function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function join(folder: string, name: string): string {
  return folder === '' || folder === '.' ? name : `${folder}/${name}`;
}
