/**
 * What a frozen prefix computes, on disk: a record an image, by the content of its file, in a folder that is named by
 * everything else that decides the numbers. Trials share it; several may fill it at once, each beginning elsewhere, and
 * take over what the others finished.
 */
import fs from 'node:fs';
import path from 'node:path';
import { folderBytes, pruneFolder } from '../common/bounded-folder';
import { UserError } from '../common/errors';
import type { Precision } from '../common/engines';
import type { ChannelNormalization } from '../common/trial';
import { shortHash } from '../common/trial-id';
import type { Batches } from '../data/batches';
import { imageVersion } from '../data/prepare';
import { isSegment, openSegmentCache, type SegmentCache } from '../data/segment-cache';
import type { Engine, HostTensors, Session } from '../engine/program';
import { floatToHalf } from '../interop/half';
import { stageShape } from '../vit/stages';
import { patchFeed, eventLoopTurn } from './evaluate';
import type { Model } from './model';
import { describePrefix } from './prefix';
import { prefixProgram } from './program';

/** Images in a call: fixed, so that what is computed does not depend on a trial's own batch. */
const batchSize = 16;
/** Batches between two looks at what other processes finished. */
const batchesPerTurn = 8;
const sealMilliseconds = 5000;

export type StoredPrecision = 'f32' | 'f16';

export interface PrefixSource {
  model: Model;
  /** By timm name. */
  base: HostTensors;
  fingerprint: string;
  engine: Engine;
  threads: number;
  /** Of the products. */
  precision: Precision;
  /** Of the records. */
  stored: StoredPrecision;
  images: { resize: string; normalization: ChannelNormalization };
  cacheFolder: string;
}

/** Images that are to be read from a stage on. */
export interface PrefixTask {
  stage: number;
  batches: Batches;
}

export interface PrefixProgress {
  onProgress(done: number, total: number): void;
  /** Looked at between batches: true gives up. */
  stopRequested(): boolean;
}

export const prefixRoot = (cacheFolder: string) => path.join(cacheFolder, 'prefix');

/** Bytes of one image's record. */
export function recordBytes({ architecture }: Pick<Model, 'architecture'>, stage: number, stored: StoredPrecision): number {
  const { rows, columns } = stageShape(architecture, stage);
  return rows * columns * (stored === 'f16' ? 2 : 4);
}

/** Bytes that the tasks' records take, each content once. */
export function tasksBytes(tasks: readonly PrefixTask[], model: Pick<Model, 'architecture'>, stored: StoredPrecision): number {
  const stages = new Map<number, Set<string>>();
  for (const { stage, batches } of tasks) {
    const contents = stages.get(stage) ?? new Set();
    batches.contents.forEach(content => contents.add(content));
    stages.set(stage, contents);
  }
  return [...stages].reduce((sum, [stage, { size }]) => sum + size * recordBytes(model, stage, stored), 0);
}

/** Bytes of all prefixes on this disk. */
export function storedPrefixBytes(cacheFolder: string): Promise<number> {
  return folderBytes({ root: prefixRoot(cacheFolder), isCached: isSegment });
}

/**
 * Computes what is missing and makes the tasks' batches read it. False when a stop was requested. Other prefixes give way
 * to stay below `maxBytes`. UserError where the disk cannot take it.
 */
export async function fillPrefixes(source: PrefixSource, tasks: readonly PrefixTask[], { maxBytes, ...watch }: PrefixProgress & { maxBytes: number }): Promise<boolean> {
  const stages = [...new Set(tasks.map(({ stage }) => stage))];
  const folders = new Map<number, string>();
  for (const stage of stages) folders.set(stage, await prefixFolder(source, stage));
  const fills = await Promise.all(tasks.map(task => openFill(task, source, folders.get(task.stage)!)));
  try {
    const missing = new Set(fills.flatMap(({ stage, contents }) => contents.map(content => `${stage} ${content}`)));
    if (missing.size) {
      const bytes = fills.reduce((sum, fill) => sum + new Set(fill.contents).size * recordBytes(source.model, fill.stage, source.stored), 0);
      await makeRoom(source.cacheFolder, { bytes, maxBytes, keep: [...folders.values()] });
      if (!(await computeMissing(source, fills, { ...watch, total: missing.size }))) return false;
    }
    return true;
  } finally {
    await Promise.all(fills.map(({ cache }) => cache.close()));
  }
}

/** What a prefix's records depend on beside the image: everything that is known to decide a bit. */
async function prefixFolder({ model, fingerprint, engine, threads, precision, stored, images, cacheFolder }: PrefixSource, stage: number): Promise<string> {
  const { digest } = await describePrefix({ ...model, batch: batchSize }, stage);
  const { architecture: { imageSize, patch } } = model;
  const key = shortHash({ format: 1, digest, fingerprint, engine: engine.id, threads, precision, stored, imageVersion, imageSize, patch, ...images });
  return path.join(prefixRoot(cacheFolder), `${key}-${stored}`);
}

interface Fill extends PrefixTask {
  folder: string;
  cache: SegmentCache;
  /** Of the images that had no record when the batches were asked first. */
  contents: string[];
}

async function openFill(task: PrefixTask, { model, stored }: PrefixSource, folder: string): Promise<Fill> {
  const missing = await task.batches.readRecords({ folder, precision: stored, ...stageShape(model.architecture, task.stage) });
  const cache = await openSegmentCache({ what: 'computed features', folder }); // after damaged segments are gone
  return { ...task, folder, cache, contents: missing.map(i => task.batches.contents[i]!) };
}

async function makeRoom(cacheFolder: string, { bytes, maxBytes, keep }: { bytes: number; maxBytes: number; keep: string[] }): Promise<void> {
  const root = prefixRoot(cacheFolder);
  await pruneFolder({ root, isCached: isSegment, maxBytes: Math.max(0, maxBytes - bytes), keep });
  const { bavail, bsize } = await fs.promises.statfs(root);
  if (bavail * bsize > bytes * 1.05 + 2 ** 28) return;
  throw new UserError({ what: `the disk has no room for ${(bytes / 1e9).toFixed(2)} GB of computed features`, where: root, remedy: 'Free some space there, or set PEFT_LAB_CACHE to a folder on another disk.' });
}

async function computeMissing(source: PrefixSource, fills: readonly Fill[], watch: PrefixProgress & { total: number }): Promise<boolean> {
  const open = fills.filter(({ contents }) => contents.length);
  const session = await openSession(source, open.map(({ stage }) => stage));
  let done = 0;
  try {
    for (const fill of open) {
      const isThrough = await computeFill(source, fill, { session, stopRequested: watch.stopRequested, onImages: count => watch.onProgress(done = Math.min(done + count, watch.total), watch.total) });
      if (!isThrough) return false;
    }
  } finally {
    await session.dispose();
  }
  watch.onProgress(watch.total, watch.total);
  for (const { batches, stage, folder } of open) {
    const missing = await batches.readRecords({ folder, precision: source.stored, ...stageShape(source.model.architecture, stage) });
    if (missing.length) throw new UserError({ what: `${missing.length} computed features cannot be read back`, where: folder, remedy: 'Check the disk, delete the folder and run again, or set "prefixCache": "off".' });
  }
  return true;
}

async function openSession({ model, base, engine, threads, precision }: PrefixSource, stages: readonly number[]): Promise<Session> {
  const own = { ...model, batch: batchSize };
  const needed = await Promise.all([...new Set(stages)].map(async stage => [stage, await describePrefix(own, stage)] as const));
  const names = new Set(needed.flatMap(([, { reads }]) => [...reads]));
  return engine.open({
    programs: Object.fromEntries(needed.map(([stage]) => [`prefix/${stage}`, prefixProgram(own, stage)])),
    state: {}, constants: Object.fromEntries([...names].map(name => [name, base[name]!])), threads, precision,
  });
}

interface FillWatch {
  session: Session;
  stopRequested(): boolean;
  /** Images that have their record now, by us or by another process. */
  onImages(count: number): void;
}

/** False when a stop was requested; what was computed by then is kept. */
async function computeFill(source: PrefixSource, { stage, batches, cache, contents }: Fill, { session, stopRequested, onImages }: FillWatch): Promise<boolean> {
  const { rows, columns } = stageShape(source.model.architecture, stage);
  const positions = new Map(batches.contents.map((content, index) => [content, index]));
  let open = rotated([...new Set(contents)]);
  let sealed = Date.now();
  const takeOver = async () => {
    await cache.refresh();
    const before = open.length;
    open = open.filter(content => cache.read(content) === undefined);
    if (open.length < before) onImages(before - open.length);
  };
  await takeOver();
  while (open.length) {
    const turn = open.slice(0, batchSize * batchesPerTurn);
    open = open.slice(turn.length);
    for await (const batch of batches.inOrder({ batchSize, only: turn.map(content => positions.get(content)!) })) {
      const { prefix } = await session.call(`prefix/${stage}`, { patches: patchFeed(batch) });
      for (let image = 0; image < batch.count; image++) {
        const values = recordOf(prefix!.data as Float32Array, { image, rows, columns });
        await cache.add(batches.contents[batch.indices[image]!]!, { data: bytesOf(values, source.stored), width: columns, height: rows });
      }
      onImages(batch.count);
      await eventLoopTurn();
      if (stopRequested()) {
        await cache.flush();
        return false;
      }
    }
    if (!open.length || Date.now() - sealed < sealMilliseconds) continue;
    await cache.flush();
    await takeOver();
    sealed = Date.now();
  }
  await cache.flush();
  return true;
}

/** So that processes which fill one cache at once do not all begin with the same images. */
function rotated<T>(items: readonly T[]): T[] {
  const start = process.pid % Math.max(1, items.length);
  return [...items.slice(start), ...items.slice(0, start)];
}

/** One image's rows out of a batch's, [rows * columns]. */
function recordOf(values: Float32Array, { image, rows, columns }: { image: number; rows: number; columns: number }): Float32Array {
  const out = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const from = (row * batchSize + image) * columns;
    out.set(values.subarray(from, from + columns), row * columns);
  }
  return out;
}

function bytesOf(values: Float32Array, stored: StoredPrecision): Uint8Array {
  const { buffer, byteOffset, byteLength } = stored === 'f16' ? floatToHalf(values) : values;
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
}
