/** The backbone that a study or a flag names, as a file of this machine. */
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { fileSize } from '../common/format';
import type { Study } from '../common/study';
import { atMostEvery } from './at-most-every';

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
export async function findBackbone({ file, hub }: Pick<Study['backbone'], 'file' | 'hub'>, { folder, onProgress }: BackboneContext): Promise<NamedBackbone> {
  if (hub !== undefined) return fromHub(hub, onProgress);
  return localBackbone(file!, {
    folder, remedy: 'Correct "backbone.file"; it is relative to the study file. "demo" is the small ViT that comes with PEFT Lab; "hub" takes one from the Hugging Face hub.',
  });
}

/** What the flag --backbone names: a file, "demo", or `hub:owner/name`; `say` hears how far a download is, and warnings. */
export async function flagBackbone(text: string, say: (text: string) => void): Promise<Omit<NamedBackbone, 'warnings'>> {
  if (text.startsWith('hub:')) {
    const { warnings, ...named } = await fromHub(text.slice('hub:'.length), atMostEvery(10_000, say));
    for (const warning of warnings) say(`Warning: ${warning}`);
    return named;
  }
  return localBackbone(text, {
    folder: process.cwd(), remedy: 'Correct --backbone: a safetensors or npz file, "demo" (the small ViT that comes with PEFT Lab), or hub:owner/name.',
  });
}

/** `remedy`: what to correct where there is no such file. */
async function localBackbone(text: string, { folder, remedy }: { folder: string; remedy: string }): Promise<NamedBackbone> {
  const file = text === 'demo' ? (await import('../vit/embedded')).embeddedBackbone() : path.resolve(folder, text);
  if (!fs.existsSync(file)) throw new UserError({ what: 'there is no such backbone file', where: file, remedy });
  return { file, name: path.basename(file).replace(/\.(safetensors|npz)$/i, ''), warnings: [] };
}

async function fromHub(hub: NonNullable<Study['backbone']['hub']>, onProgress: BackboneContext['onProgress']): Promise<NamedBackbone> {
  const { parseHubAddress } = await import('../interop/hub/repository');
  const { hubSettings } = await import('../interop/hub/settings');
  const { fetchHubBackbone } = await import('../interop/hub/fetch-backbone');
  const address = parseHubAddress(hub);
  onProgress?.(`Asking the hub for ${address.repository}`);
  const { file, warnings } = await fetchHubBackbone({
    address, settings: hubSettings(),
    onProgress: ({ file: name, done, total }) => onProgress?.(`Fetching ${address.repository}, ${name}: ${fileSize(done)} of ${fileSize(total)}`),
  });
  return { file, name: path.posix.basename(address.repository), warnings };
}
