/** What import, export, diff and predict have in common. */
import fs from 'node:fs/promises';
import { UserError } from '../common/errors';
import type { Engine } from '../engine/program';
import type { Adapter } from '../peft/adapter';
import type { Backbone } from '../vit/weights';
import { flagBackbone } from './backbone';

export interface ExchangeBackboneOptions {
  /** Null where there is none yet. */
  adapter: Adapter | null;
  imageSize?: number | undefined;
  say(text: string): void;
}

/** The flag's backbone as it says of itself, or, with an adapter that was trained on a known one, as that saw it. Says its warnings. */
export async function openExchangeBackbone(flag: string, { adapter, imageSize, say }: ExchangeBackboneOptions): Promise<Backbone & { name: string }> {
  const { loadBackbone } = await import('../vit/weights');
  const { file, name } = await flagBackbone(flag, say);
  const overrides = adapter && adapter.manifest.backbone.fingerprint !== null ? asSeenBy(adapter.manifest) : { imageSize };
  const backbone = await loadBackbone({ file, ...overrides });
  for (const warning of backbone.warnings) say(`Warning: ${warning}`);
  return { ...backbone, name };
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
