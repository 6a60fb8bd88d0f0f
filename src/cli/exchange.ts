/** What import, export and diff have in common. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import type { Engine } from '../engine/program';
import type { Adapter } from '../peft/adapter';
import type { Backbone } from '../vit/weights';
import { backboneFile } from './backbone';

export const normalizationNames = ['none', 'imagenet', 'clip', '0.5'] as const;

/** The backbone of a file as it says of itself, or, with an adapter that knows more, as that one saw it. */
export async function openExchangeBackbone(file: string, adapter: Adapter | null): Promise<Backbone & { name: string }> {
  const { loadBackbone } = await import('../vit/weights');
  const found = await backboneFile(file, process.cwd());
  const known = adapter && adapter.manifest.backbone.fingerprint !== null ? adapter.manifest.backbone.architecture : null;
  const overrides = known
    ? { architecture: { heads: known.heads, layerNormEpsilon: known.layerNormEpsilon, activation: known.activation }, imageSize: known.imageSize, projection: known.projection }
    : adapter ? { imageSize: adapter.manifest.backbone.architecture.imageSize } : {};
  return { ...await loadBackbone({ file: found, ...overrides }), name: path.basename(found).replace(/\.(safetensors|npz)$/i, '') };
}

/** Names separated by commas, or a file with one on each line. */
export async function readClassNames(text: string): Promise<string[]> {
  const file = await fs.readFile(text, 'utf8').catch(() => null);
  const names = (file === null ? text.split(',') : file.split(/\r?\n/)).map(name => name.trim());
  while (names.length && names.at(-1) === '') names.pop();
  if (!names.length || names.includes('')) throw new UserError({ what: 'a class name is empty', where: `--classes ${text}`, remedy: 'Separate names by commas, or name a file with one on each line.' });
  if (new Set(names).size < names.length) throw new UserError({ what: 'a class name is there twice', where: `--classes ${text}`, remedy: 'Give each class a name of its own.' });
  return names;
}

/** Looked for only where it is needed: the first time on a machine, every engine is tried. */
export async function certifyEngine(): Promise<{ engine: Engine; threads: number }> {
  const { chooseEngine, defaultThreads } = await import('../engine/choose');
  const threads = defaultThreads();
  return { threads, engine: (await chooseEngine({ asked: 'auto', threads })).engine };
}
