/**
 * The cache that Python's huggingface_hub keeps: `models--owner--name` with blobs by their hash, snapshots by commit
 * whose files are links to blobs, and refs that say which commit a branch or tag was.
 */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { processIsAlive } from '../../common/process-is-alive';
import { replaceFile } from '../../common/replace-file';

export interface RepositoryCache {
  folder: string;
  blob(etag: string): string;
  /** The commit that a revision was when it was last asked for; null when it never was. */
  commitOf(revision: string): Promise<string | null>;
  rememberCommit(revision: string, commit: string): Promise<void>;
  /** Where a file of a commit lies or would lie. */
  snapshot(commit: string, file: string): string;
  /** Names in the root of a commit that are here. */
  cachedFiles(commit: string, folder: string): Promise<string[]>;
  /** Puts a blob under its file's name: a link, or a copy where links cannot be. */
  link(etag: string, commit: string, file: string): Promise<string>;
  /** A file of our own to grow into the blob: what an earlier download left, or a new name. */
  claimPart(etag: string): Promise<string>;
}

export function openRepositoryCache(cache: string, repository: string): RepositoryCache {
  const folder = path.join(cache, `models--${repository.replaceAll('/', '--')}`);
  const blob = (etag: string) => path.join(folder, 'blobs', etag);
  const snapshot = (commit: string, file: string) => path.join(folder, 'snapshots', commit, ...file.split('/'));
  return {
    folder, blob, snapshot,
    async commitOf(revision) {
      if (/^[0-9a-f]{40}$/.test(revision)) return revision;
      const text = await fs.readFile(path.join(folder, 'refs', ...revision.split('/')), 'utf8').catch(() => '');
      return /^[0-9a-f]{40}$/.exec(text.trim())?.[0] ?? null;
    },
    async rememberCommit(revision, commit) {
      if (revision === commit) return;
      const file = path.join(folder, 'refs', ...revision.split('/'));
      await fs.mkdir(path.dirname(file), { recursive: true });
      await fs.writeFile(`${file}.${process.pid}.tmp`, commit);
      await replaceFile(`${file}.${process.pid}.tmp`, file);
    },
    async cachedFiles(commit, inner) {
      const names = await fs.readdir(snapshot(commit, inner || '.')).catch(() => []);
      const paths = names.map(name => (inner ? `${inner}/${name}` : name));
      const there = await Promise.all(paths.map(file => fs.stat(snapshot(commit, file)).then(stat => stat.isFile(), () => false)));
      return paths.filter((_, i) => there[i]);
    },
    link: (etag, commit, file) => linkBlob(blob(etag), snapshot(commit, file)),
    claimPart: etag => claimPart(path.join(folder, 'blobs'), etag),
  };
}

async function linkBlob(blob: string, target: string): Promise<string> {
  if (await isFile(target)) return target;
  await fs.mkdir(path.dirname(target), { recursive: true });
  await fs.rm(target, { force: true }); // a link whose blob is gone
  const temporary = `${target}.${process.pid}.tmp`;
  await fs.rm(temporary, { force: true });
  const ways = [
    () => fs.symlink(path.relative(path.dirname(target), blob), temporary),
    () => fs.link(blob, temporary),
    () => fs.copyFile(blob, temporary),
  ];
  for (const [i, way] of ways.entries()) {
    try {
      await way();
      break;
    } catch (error) {
      if (i === ways.length - 1) throw error; // Windows without its developer mode, and some network drives, have no links
    }
  }
  await replaceFile(temporary, target);
  return target;
}

async function isFile(file: string): Promise<boolean> {
  return fs.stat(file).then(stat => stat.isFile(), () => false);
}

/** Silence after which another machine's part counts as left behind. */
const FORSAKEN_MILLISECONDS = 60_000;

/**
 * `<etag>.<host>-<process>.incomplete` belongs to one process. What a process left behind that is gone is taken over by
 * a rename, which only one can do; `<etag>.incomplete` is Python's.
 */
async function claimPart(blobs: string, etag: string): Promise<string> {
  await fs.mkdir(blobs, { recursive: true });
  const own = path.join(blobs, `${etag}.${os.hostname()}-${process.pid}.incomplete`);
  if (await isFile(own)) return own;
  for (const name of await fs.readdir(blobs)) {
    if (!name.startsWith(`${etag}.`) || !name.endsWith('.incomplete') || !await isForsaken(path.join(blobs, name))) continue;
    const taken = await fs.rename(path.join(blobs, name), own).then(() => true, () => false);
    if (taken) return own;
  }
  return own;
}

async function isForsaken(file: string): Promise<boolean> {
  const [, host, pid] = /\.([^/\\]+)-(\d+)\.incomplete$/.exec(path.basename(file)) ?? [];
  if (host?.endsWith(os.hostname()) && pid !== undefined) return !processIsAlive(Number(pid));
  const stat = await fs.stat(file).catch(() => null);
  return stat !== null && Date.now() - stat.mtimeMs > FORSAKEN_MILLISECONDS;
}
