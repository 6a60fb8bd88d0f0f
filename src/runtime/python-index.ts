/**
 * PyPI's JSON index: which wheels a package has, and what they require. Mirrors are asked as pip would ask them
 * (PIP_INDEX_URL), where they offer JSON.
 */
import { z } from 'zod';
import { UserError } from '../common/errors';
import { get, NetworkError, unreachable, withoutCredentials } from '../interop/network';
import { readRemoteEntry } from './remote-zip';

export interface Wheel {
  name: string;
  version: string;
  filename: string;
  url: string;
  /** Lower-case hexadecimal. */
  sha256: string;
  bytes: number;
}

export interface PythonIndex {
  /** Wheels of a package by version, withdrawn ones left out. A UserError when there is no such package. */
  wheels(name: string, signal?: AbortSignal): Promise<ReadonlyMap<string, Wheel[]>>;
  /** The wheel's `Requires-Dist` lines. */
  requires(wheel: Wheel, signal?: AbortSignal): Promise<string[]>;
}

const fileSchema = z.object({
  filename: z.string(), url: z.string(), size: z.int().positive(), packagetype: z.string(), yanked: z.boolean().default(false),
  digests: z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
});
const projectSchema = z.object({
  info: z.object({ version: z.string(), requires_dist: z.array(z.string()).nullish() }),
  releases: z.record(z.string(), z.array(fileSchema)),
});
type Project = z.infer<typeof projectSchema>;

const publicIndex = 'https://pypi.org';

export function openPythonIndex(environment: NodeJS.ProcessEnv = process.env): PythonIndex {
  const bases = indexBases(environment);
  const projects = new Map<string, Promise<{ project: Project; url: string }>>();
  const load = (name: string, signal?: AbortSignal) => {
    const found = projects.get(name) ?? loadProject(bases, name, signal);
    projects.set(name, found);
    return found;
  };
  return {
    async wheels(name, signal) {
      const { project, url } = await load(name, signal);
      return new Map(Object.entries(project.releases).map(([version, files]) => [version, wheelsOf({ name, version, files, url })]));
    },
    async requires(wheel, signal) {
      const { info } = (await load(wheel.name, signal)).project;
      if (info.version === wheel.version && info.requires_dist) return info.requires_dist;
      return readRequirements(wheel, signal);
    },
  };
}

/** `https://host/simple` of pip is `https://host` here. */
function indexBases({ PEFT_LAB_PYPI, PIP_INDEX_URL }: NodeJS.ProcessEnv): string[] {
  const trimmed = (url: string) => url.replace(/\/+$/, '').replace(/\/simple$/, '');
  if (PEFT_LAB_PYPI) return [checkedUrl(trimmed(PEFT_LAB_PYPI), 'PEFT_LAB_PYPI')];
  return [...new Set([...PIP_INDEX_URL ? [checkedUrl(trimmed(PIP_INDEX_URL), 'PIP_INDEX_URL')] : [], publicIndex])];
}

function checkedUrl(url: string, variable: string): string {
  if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return url;
  throw new UserError({ what: `"${url}" is no address`, where: variable, remedy: `Write it like ${publicIndex}.` });
}

/** From the first index that answers with JSON. */
async function loadProject(bases: readonly string[], name: string, signal?: AbortSignal): Promise<{ project: Project; url: string }> {
  let failure: UserError | undefined;
  for (const base of bases) {
    const url = `${base}/pypi/${name}/json`;
    try {
      return { project: await fetchProject(url, name, signal), url };
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof UserError)) throw error;
      failure ??= error;
    }
  }
  throw failure!;
}

async function fetchProject(url: string, name: string, signal?: AbortSignal): Promise<Project> {
  const text = await fetchText(url, signal);
  if (text === null) throw new UserError({ what: `the package index has no package "${name}"`, where: withoutCredentials(url).url, remedy: 'Set PEFT_LAB_PYPI to an index that offers PyPI\'s JSON, like https://pypi.org.' });
  try {
    return projectSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new UserError({ what: 'this package index does not answer with PyPI\'s JSON', where: withoutCredentials(url).url, remedy: 'Set PEFT_LAB_PYPI to an index that does, like https://pypi.org.', cause });
  }
}

/** Null where there is nothing at that address. Any other refusal is a UserError. */
async function fetchText(url: string, signal?: AbortSignal): Promise<string | null> {
  try {
    const response = await get(url, { signal });
    if (response.ok) return await response.text();
    await response.body?.cancel();
    if (response.status === 404) return null;
    throw new UserError({ what: `the server answers ${response.status} ${response.statusText}`.trim(), where: withoutCredentials(url).url, remedy: 'Try again later, or name another index in PEFT_LAB_PYPI.' });
  } catch (error) {
    throw error instanceof NetworkError ? unreachable(error) : error;
  }
}

function wheelsOf({ name, version, files, url }: { name: string; version: string; files: Project['releases'][string]; url: string }): Wheel[] {
  return files.filter(file => file.packagetype === 'bdist_wheel' && !file.yanked).map(file => ({
    name, version, filename: file.filename, url: resolveUrl(file.url, url), sha256: file.digests.sha256, bytes: file.size,
  }));
}

/** Mirrors may write addresses relative to the page. The page's password goes along to the same host only. */
function resolveUrl(url: string, page: string): string {
  const resolved = new URL(url, page), from = new URL(page);
  if (resolved.host === from.host && !resolved.username) [resolved.username, resolved.password] = [from.username, from.password];
  return resolved.href;
}

/** Beside the wheel (PEP 658) where the index keeps it, else out of the wheel itself. */
async function readRequirements(wheel: Wheel, signal?: AbortSignal): Promise<string[]> {
  const address = new URL(wheel.url);
  [address.hash, address.search] = ['', ''];
  const text = await fetchText(`${address.href}.metadata`, signal).catch(() => { signal?.throwIfAborted(); return null; })
    ?? await readRemoteEntry(wheel.url, { bytes: wheel.bytes, name: /^[^/]+\.dist-info\/METADATA$/, signal });
  return text.split(/\r?\n\r?\n/)[0]!.split('\n').filter(line => line.startsWith('Requires-Dist:')).map(line => line.slice('Requires-Dist:'.length).trim());
}
