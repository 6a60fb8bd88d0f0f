/** A backbone of the hub as a file of this machine: from the shared cache, or fetched into it. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../../common/errors';
import { fileSize } from '../../common/format';
import { diskError, download, sha256, type Checksum } from '../download';
import { openRepositoryCache, type RepositoryCache } from './cache';
import { authorization, contentAddress, HubUnavailable, listHubFiles, refusalWords, type HubFile, type HubListing } from './client';
import type { HubAddress } from './repository';
import type { HubSettings } from './settings';

export interface HubBackboneOptions {
  address: HubAddress;
  settings: HubSettings;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: HubProgress) => void) | undefined;
  /** Wait before the first retry; doubled each time. */
  retryMilliseconds?: number | undefined;
}

export interface HubProgress {
  file: string;
  done: number;
  total: number;
}

export interface HubBackbone {
  /** In the cache, beside the configuration files that the repository has. */
  file: string;
  commit: string;
  /** In words: that the hub could not be asked. */
  warnings: string[];
}

/** Says what shapes cannot, see vit/facts.ts. */
const companions = ['config.json', 'preprocessor_config.json', 'open_clip_config.json'];

/**
 * Throws UserErrors: no such repository, revision or file; no access; only pickles; not enough space; no network and
 * nothing in the cache. When the signal is aborted, its reason; what was fetched stays for the next call.
 */
export async function fetchHubBackbone(options: HubBackboneOptions): Promise<HubBackbone> {
  const { address, settings } = options;
  const cache = openRepositoryCache(settings.cache, address.repository);
  if (settings.isOffline) return fromCache(cache, options, 'HF_HUB_OFFLINE is set');
  let listing: HubListing;
  try {
    listing = await listHubFiles(address, folderOf(address), options);
  } catch (error) {
    if (!(error instanceof HubUnavailable)) throw error;
    return fromCache(cache, options, error.explained.what, error.explained);
  }
  return fetchListed(cache, listing, options);
}

async function fetchListed(cache: RepositoryCache, { commit, files }: HubListing, options: HubBackboneOptions): Promise<HubBackbone> {
  const { address, settings } = options;
  const weights = files.find(({ path }) => path === chooseWeights(files.map(f => f.path), address))!;
  const needed = [...files.filter(f => companions.includes(path.posix.basename(f.path))), weights];
  try {
    await checkSpace(cache, needed);
    for (const file of needed) await fetchFile(cache, file, { commit, options });
    await cache.rememberCommit(address.revision, commit);
  } catch (error) {
    throw diskError(error, { file: cache.folder, remedy: `${spaceRemedy} Its cache is ${settings.cache}.` });
  }
  return { file: cache.snapshot(commit, weights.path), commit, warnings: [] };
}

async function fetchFile(cache: RepositoryCache, { path: file, bytes, etag, isLarge }: HubFile, { commit, options }: { commit: string; options: HubBackboneOptions }): Promise<void> {
  const { address, settings, signal, retryMilliseconds, onProgress } = options;
  signal?.throwIfAborted();
  if (fs.existsSync(cache.snapshot(commit, file))) return;
  if (!fs.existsSync(cache.blob(etag))) {
    await download({
      url: contentAddress(settings, address.repository, commit, file), headers: authorization(settings),
      file: cache.blob(etag), part: await cache.claimPart(etag), bytes, checksum: isLarge ? sha256(etag) : gitHash(etag, bytes),
      signal, retryMilliseconds, onProgress: done => onProgress?.({ file, done, total: bytes }),
      words: { source: 'the hub', disk: spaceRemedy, refusal: status => refusalWords(address, settings, status) },
    });
  }
  await cache.link(etag, commit, file);
}

/** What git calls a file's content. */
function gitHash(hex: string, bytes: number): Checksum {
  return { name: 'git hash', hex, start: () => createHash('sha1').update(`blob ${bytes}\0`) };
}

const spaceRemedy = 'Free some space, or name another folder in the variable HF_HUB_CACHE. What was fetched is kept.';

async function checkSpace(cache: RepositoryCache, files: readonly HubFile[]): Promise<void> {
  const bytes = files.filter(({ etag }) => !fs.existsSync(cache.blob(etag))).reduce((sum, file) => sum + file.bytes, 0);
  if (!bytes) return;
  await fs.promises.mkdir(cache.folder, { recursive: true });
  const { bavail, bsize } = await fs.promises.statfs(cache.folder);
  if (bavail * bsize >= bytes) return;
  throw new UserError({
    what: `${fileSize(bytes)} are needed, and the disk has ${fileSize(bavail * bsize)} left`, where: cache.folder, remedy: spaceRemedy,
  });
}

/** What an earlier call, or Python, left here. */
async function fromCache(cache: RepositoryCache, { address, settings }: HubBackboneOptions, reason: string, cause?: UserError): Promise<HubBackbone> {
  const commit = await cache.commitOf(address.revision);
  const files = commit === null ? [] : await cache.cachedFiles(commit, folderOf(address));
  if (commit === null || !files.some(isWeights)) {
    throw new UserError({
      what: `${reason}, and ${address.repository} is not in the cache`, where: settings.cache, cause,
      remedy: cause?.remedy ?? 'Unset HF_HUB_OFFLINE once to fetch it, or name a file in "backbone.file".',
    });
  }
  const file = cache.snapshot(commit, chooseWeights(files, address));
  return { file, commit, warnings: settings.isOffline ? [] : [`${reason}: ${address.repository} is taken from the cache, as of commit ${commit.slice(0, 8)}.`] };
}

function folderOf({ file }: HubAddress): string {
  return file?.includes('/') ? path.posix.dirname(file) : '';
}

/** The file asked for; else transformers' and timm's, OpenCLIP's, or the only one there is. */
function chooseWeights(files: readonly string[], { file, repository }: HubAddress): string {
  const where = repository;
  if (file !== null && isPickle(file)) throw pickles(where, file, files);
  if (file !== null) {
    if (files.includes(file)) return file;
    throw new UserError({ what: `there is no file "${file}"`, where, remedy: `Weights in it: ${files.filter(isWeights).join(', ') || 'none'}.` });
  }
  const usable = files.filter(isWeights);
  const preferred = ['model.safetensors', 'open_clip_model.safetensors'].find(name => usable.includes(name));
  if (preferred !== undefined) return preferred;
  if (files.some(name => /\.safetensors\.index\.json$/.test(name))) {
    throw new UserError({ what: 'its weights are cut into several files, which only much larger models than a ViT-H are', where, remedy: 'Join them (transformers: save_pretrained(folder, max_shard_size="100GB")) and name the file in "backbone.file".' });
  }
  if (usable.length === 1) return usable[0]!;
  if (usable.length > 1) throw new UserError({ what: `it has several files of weights: ${usable.join(', ')}`, where, remedy: 'Name one: "hub": {"repository": ..., "file": ...}.' });
  const pickle = files.find(isPickle);
  if (pickle !== undefined) throw pickles(where, pickle, files);
  throw new UserError({ what: 'it has no safetensors or npz file', where, remedy: 'Use another repository; timm\'s and most of transformers\' have a model.safetensors.' });
}

function isWeights(name: string): boolean {
  return /\.(safetensors|npz)$/.test(name);
}

function isPickle(name: string): boolean {
  return /\.(bin|pt|pth|ckpt|pkl)$/.test(name);
}

function pickles(where: string, file: string, files: readonly string[]): UserError {
  const instead = files.filter(isWeights);
  return new UserError({
    what: `${file} is a PyTorch pickle, which can run any program when it is opened; PEFT Lab fetches safetensors and npz only`, where,
    remedy: instead.length ? `Use ${instead.join(' or ')} of the same repository.`
      : 'Convert it where you trust it (in Python: safetensors.torch.save_file(torch.load(file, weights_only=True), target)) and name the result in "backbone.file"; huggingface.co/spaces/safetensors/convert does it online.',
  });
}
