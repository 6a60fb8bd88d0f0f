/** How fast this machine trains, from what it trained: for the times that `plan` foretells. */
import fs from 'node:fs';
import path from 'node:path';
import { cacheFolder } from '../common/paths';
import { writeJson } from '../store/files';
import { readStore } from '../store/read';
import { trialCost } from './cost';

/** Tera-operations a second: the median of the store's finished trials, else of the last study run here; null before any. */
export async function measuredSpeed(store: string): Promise<number | null> {
  return await speedOf(store) ?? rememberedSpeed();
}

/** Keeps a study's speed for studies to come. A cache that cannot be written only costs the foretelling. */
export async function rememberSpeed(store: string): Promise<void> {
  const teraFlopsPerSecond = await speedOf(store);
  if (teraFlopsPerSecond === null) return;
  try { writeJson(speedFile(), { teraFlopsPerSecond }); } catch { /* see above */ }
}

/** A step of a head alone on finished features is all overhead: it says nothing of the machine's speed. */
async function speedOf(store: string): Promise<number | null> {
  const speeds = (await readStore(store)).trials.flatMap(({ trial, result }) => result && result.trainSeconds > 0 && (result.prefix?.training ?? 0) < trial.backbone.architecture.depth
    ? [trialCost(trial, result.classCounts, result.prefix).trainTeraFlops / result.trainSeconds] : []).sort((a, b) => a - b);
  return speeds[Math.floor(speeds.length / 2)] ?? null;
}

function rememberedSpeed(): number | null {
  try {
    const { teraFlopsPerSecond } = JSON.parse(fs.readFileSync(speedFile(), 'utf8')) as { teraFlopsPerSecond: unknown };
    return typeof teraFlopsPerSecond === 'number' && teraFlopsPerSecond > 0 ? teraFlopsPerSecond : null;
  } catch {
    return null; // never written yet, or not readable
  }
}

function speedFile(): string {
  return path.join(cacheFolder(), 'speed.json');
}
