/** The backbone that a study or a flag names, as a file of this machine. */
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import type { Study } from '../common/study';

export interface NamedBackbone {
  /** Absolute. */
  file: string;
  /** What to call it when the study does not say. */
  name: string;
  warnings: string[];
}

export interface BackboneContext {
  /** Absolute; what a relative file is relative to. */
  folder: string;
  onProgress?: ((text: string) => void) | undefined;
}

/** A study's backbone; one on the hub is fetched unless it is in the cache. UserErrors as those of `fetchHubBackbone`. */
export async function findBackbone({ file, hub }: Pick<Study['backbone'], 'file' | 'hub'>, context: BackboneContext): Promise<NamedBackbone> {
  if (hub !== undefined) return fromHub(hub, context);
  const found = await localFile(file!, context.folder);
  return { file: found, name: path.basename(found).replace(/\.(safetensors|npz)$/i, ''), warnings: [] };
}

/** For a flag: a file, "demo", or `hub:owner/name`. Absolute; what is fetched is told on standard error. */
export async function backboneFile(text: string, folder: string): Promise<string> {
  if (!text.startsWith('hub:')) return localFile(text, folder);
  const { file, warnings } = await fromHub(text.slice('hub:'.length), { folder, onProgress: nowAndThen(line => process.stderr.write(`${line}\n`)) });
  for (const warning of warnings) process.stderr.write(`Warning: ${warning}\n`);
  return file;
}

async function localFile(file: string, folder: string): Promise<string> {
  if (file === 'demo') return (await import('../vit/embedded')).embeddedBackbone();
  const absolute = path.resolve(folder, file);
  if (fs.existsSync(absolute)) return absolute;
  throw new UserError({
    what: 'there is no such backbone file', where: absolute,
    remedy: 'Correct "backbone.file"; it is relative to the study file. "demo" is the small ViT that comes with PEFT Lab; "hub" takes one from the Hugging Face hub.',
  });
}

async function fromHub(hub: NonNullable<Study['backbone']['hub']>, { onProgress }: BackboneContext): Promise<NamedBackbone> {
  const { parseHubAddress } = await import('../interop/hub/repository');
  const { hubSettings } = await import('../interop/hub/settings');
  const { fetchHubBackbone } = await import('../interop/hub/fetch-backbone');
  const address = parseHubAddress(hub);
  onProgress?.(`Asking the hub for ${address.repository}`);
  const { file, warnings } = await fetchHubBackbone({
    address, settings: hubSettings(),
    onProgress: ({ file: name, done, total }) => onProgress?.(`Fetching ${address.repository}, ${name}: ${(done / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`),
  });
  return { file, name: path.posix.basename(address.repository), warnings };
}

/** Of a growing download, a line at its start and at most one every ten seconds. */
function nowAndThen(print: (line: string) => void): (line: string) => void {
  let next = 0;
  return line => {
    if (Date.now() < next) return;
    next = Date.now() + 10_000;
    print(line);
  };
}
