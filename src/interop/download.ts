/** Large files by HTTP: resumed where they were cut, checked by a hash, with an end to every wait. */
import { createHash, type Hash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { UserError } from '../common/errors';
import { replaceFile } from '../common/replace-file';
import { get, NetworkError, networkReason, withoutCredentials, type HttpResponse } from './network';

export interface DownloadOptions {
  url: string;
  /** Gets its name when it is whole and right. */
  file: string;
  /** Grows until then; `file.part` when absent. Nobody else may write it. */
  part?: string | undefined;
  bytes: number;
  checksum: Checksum;
  headers?: Record<string, string> | undefined;
  signal?: AbortSignal | undefined;
  /** Bytes that are there, those of an earlier call included. */
  onProgress?: ((bytes: number) => void) | undefined;
  /** Wait before the first retry; doubled each time. */
  retryMilliseconds?: number | undefined;
  words: DownloadWords;
}

export interface Checksum {
  /** As people call it: `SHA-256`. */
  name: string;
  hex: string;
  /** A hash that only lacks the file's content. */
  start(): Hash;
}

/** What only the caller knows when something goes wrong. */
export interface DownloadWords {
  /** Who promised size and checksum: `the index`. */
  source: string;
  /** What to do about a refusal, by the status of the answer. */
  refusal(status: number): { what?: string; remedy: string };
  /** What to do about a disk that is full or a folder that cannot be written. */
  disk: string;
}

/** SHA-256 given in hexadecimal. */
export function sha256(hex: string): Checksum {
  return { name: 'SHA-256', hex, start: () => createHash('sha256') };
}

const TRIES = 6; // in a row without a byte more
const LONGEST_WAIT = 30_000;

/**
 * Fetches a file unless it is there. Throws a UserError for refusals, for a file that is not what was promised, and when
 * the connection breaks time and again; the signal's reason when it is aborted. What was fetched stays for the next call.
 */
export async function download(options: DownloadOptions): Promise<void> {
  const { file, url, checksum, signal, onProgress, words, part = `${file}.part` } = options;
  if (fs.existsSync(file)) return onProgress?.(options.bytes);
  await fs.promises.mkdir(path.dirname(part), { recursive: true }).catch((error: unknown) => { throw diskError(error, { file: part, remedy: words.disk }); });
  const resumed = sizeOf(part) > 0;
  await fetchAll(part, options);
  if (await hashOf(part, checksum, signal) === checksum.hex) return replaceFile(part, file);
  await fs.promises.rm(part, { force: true });
  if (resumed) return download(options); // the beginning may have been another file's
  throw new UserError({
    what: `this file is not the one that ${words.source} describes (its ${checksum.name} differs)`, where: withoutCredentials(url).url,
    remedy: 'Try again; if it happens again, something on the way changes files (a proxy or mirror): do not use it.',
  });
}

/** Until the part has all its bytes. */
async function fetchAll(part: string, options: DownloadOptions): Promise<void> {
  const { bytes, signal, url, retryMilliseconds = 1000 } = options;
  let tries = 0;
  if (bytes === 0) await fs.promises.writeFile(part, '');
  for (let before = sizeOf(part); before !== bytes;) {
    if (before > bytes) await fs.promises.rm(part, { force: true });
    const failure = await fetchSome(part, options);
    signal?.throwIfAborted();
    const now = sizeOf(part);
    tries = now > before ? 1 : tries + 1;
    before = now;
    if (!failure) continue;
    if (tries >= TRIES) throw brokenOff({ url, failure, done: now, bytes });
    await sleep(Math.min(failure.waitMilliseconds ?? retryMilliseconds * 2 ** (tries - 1), LONGEST_WAIT), signal);
  }
}

interface Failure { reason: string; waitMilliseconds?: number | undefined }

/** One request for what is missing. Null when its answer ended as it should. */
async function fetchSome(part: string, options: DownloadOptions): Promise<Failure | null> {
  const { signal, url, headers, words } = options;
  const have = Math.min(sizeOf(part), options.bytes);
  try {
    const response = await get(url, { headers: { ...headers, ...have > 0 && { range: `bytes=${have}-` } }, signal });
    const refusal = await refused(response, options);
    if (refusal) return refusal;
    if (response.status === 416) {
      await fs.promises.rm(part, { force: true });
      return { reason: 'the server has no such part of it' };
    }
    const start = rangeStart(response) === have ? have : 0;
    await refuseOtherSize(response, start, options);
    await append(response, { part, have: start, options });
    return sizeOf(part) === options.bytes ? null : { reason: `the server sent ${sizeOf(part)} bytes instead of ${options.bytes}` };
  } catch (error) {
    if (error instanceof UserError || signal?.aborted) throw signal?.aborted ? signal.reason : error;
    const explained = diskError(error, { file: part, remedy: words.disk });
    if (explained instanceof UserError) throw explained;
    return { reason: error instanceof NetworkError ? error.reason : networkReason(error) };
  }
}

/** Where the answer's bytes belong; 0 for a server that sends the whole file again. */
function rangeStart(response: HttpResponse): number {
  const match = response.status === 206 ? /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '') : null;
  return match ? Number(match[1]) : 0;
}

/** A file of another size is another file: fetching it again and again would not help. */
async function refuseOtherSize(response: HttpResponse, start: number, { url, bytes, words }: DownloadOptions): Promise<void> {
  const total = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1];
  const length = response.headers.get('content-length');
  const announced = total !== undefined ? Number(total) : length === null ? bytes : start + Number(length);
  if (announced === bytes) return;
  await response.body?.cancel();
  throw otherSize(url, { announced: `${announced}`, bytes, words });
}

function otherSize(url: string, { announced, bytes, words }: { announced: string; bytes: number; words: DownloadWords }): UserError {
  return new UserError({
    what: `the server sends ${announced} bytes where ${words.source} says ${bytes}`, where: withoutCredentials(url).url,
    remedy: 'Try again later; if it happens again, something on the way changes files (a proxy or mirror): do not use it.',
  });
}

async function append(response: HttpResponse, { part, have, options }: { part: string; have: number; options: DownloadOptions }): Promise<void> {
  const { url, bytes, words } = options;
  if (!response.body) throw new Error('the server sent an empty answer');
  const target = await fs.promises.open(part, have > 0 ? 'a' : 'w');
  let done = have;
  try {
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      done += chunk.length;
      if (done > bytes) throw otherSize(url, { announced: `more than ${bytes}`, bytes, words });
      await target.appendFile(chunk); // before the next one is asked for: what came before a cut is kept
      options.onProgress?.(done);
    }
  } finally {
    await target.close();
  }
}

/** Refusals that another try will not change are thrown; busy servers are a failure to wait for. */
async function refused(response: HttpResponse, { url, words }: DownloadOptions): Promise<Failure | null> {
  const { status, statusText } = response;
  if (response.ok || status === 416) return null;
  await response.body?.cancel();
  if (status === 429 || status >= 500) return { reason: `the server answers ${status} ${statusText}`.trim(), waitMilliseconds: retryAfter(response) };
  const refusal = words.refusal(status);
  const why = refusal.what ?? (status === 404 ? 'there is no such file on the server' : `the server refuses it (${status} ${statusText})`.replace(' )', ')'));
  throw new UserError({ what: why, where: withoutCredentials(url).url, remedy: refusal.remedy });
}

/** What a busy server asks to wait, in milliseconds: seconds or a date. Undefined when it says nothing. */
export function retryAfter({ headers }: Pick<HttpResponse, 'headers'>): number | undefined {
  const text = headers.get('retry-after');
  if (!text) return undefined;
  const milliseconds = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return milliseconds > 0 ? milliseconds : undefined;
}

function brokenOff({ url, failure, done, bytes }: { url: string; failure: Failure; done: number; bytes: number }): UserError {
  return new UserError({
    what: `the download broke off at ${Math.floor(100 * done / bytes)} %: ${failure.reason}`, where: withoutCredentials(url).url,
    remedy: 'Run it again: it goes on from there.',
  });
}

async function hashOf(file: string, { start }: Checksum, signal?: AbortSignal): Promise<string> {
  const hash = start();
  await pipeline(fs.createReadStream(file, { highWaterMark: 2 ** 20 }), hash, { ...signal && { signal } });
  return hash.digest('hex');
}

function sizeOf(file: string): number {
  return fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

/** What to throw when a file cannot be written; other errors come back as they are. */
export function diskError(error: unknown, { file, remedy }: { file: string; remedy: string }): unknown {
  const code = String((error as NodeJS.ErrnoException).code);
  if (!['ENOSPC', 'EDQUOT', 'EACCES', 'EROFS'].includes(code)) return error;
  const full = ['ENOSPC', 'EDQUOT'].includes(code);
  return new UserError({ what: full ? 'the disk is full' : 'this folder cannot be written', where: path.dirname(file), remedy, cause: error });
}

export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const onAbort = () => { clearTimeout(timer); reject(signal!.reason as Error); };
    const timer = setTimeout(() => { signal?.removeEventListener('abort', onAbort); resolve(); }, milliseconds);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
