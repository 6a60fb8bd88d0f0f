/** What import, export and diff have in common. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import type { Engine } from '../engine/program';
import type { Adapter } from '../peft/adapter';
import type { Backbone } from '../vit/weights';
import { backboneFile } from './backbone';

export const normalizationNames = ['none', 'imagenet', 'clip', '0.5'] as const;

/** The backbone of a file as it says of itself, or, with an adapter that was trained on a known one, as that saw it. */
export async function openExchangeBackbone(file: string, adapter: Adapter | null, imageSize?: number): Promise<Backbone & { name: string }> {
  const { loadBackbone } = await import('../vit/weights');
  const found = await backboneFile(file, process.cwd());
  const overrides = adapter && adapter.manifest.backbone.fingerprint !== null ? asSeenBy(adapter.manifest) : { imageSize };
  return { ...await loadBackbone({ file: found, ...overrides }), name: path.basename(found).replace(/\.(safetensors|npz)$/i, '') };
}

/** What the adapter's own training took the backbone for. */
function asSeenBy({ normalization, backbone: { architecture } }: Adapter['manifest']) {
  const { heads, layerNormEpsilon, activation, imageSize, projection } = architecture;
  return { architecture: { heads, layerNormEpsilon, activation }, imageSize, projection, normalization };
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

/** ONNX Runtime where it loads, else WebAssembly: which is faster does not matter for a few images, and measuring that takes a minute. */
export async function certifyEngine(): Promise<{ engine: Engine; threads: number }> {
  const { defaultThreads } = await import('../engine/choose');
  const { engines } = await import('../engine/engines');
  const { graph, wasm } = engines;
  const loads = await graph.open({ programs: {}, state: {}, constants: {}, threads: 1 }).then(async session => {
    await session.dispose();
    return true;
  }, () => false);
  return { threads: defaultThreads(), engine: loads ? graph : wasm };
}
