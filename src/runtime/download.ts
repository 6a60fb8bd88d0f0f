/** Large files by HTTP: resumed where they were cut, checked by SHA-256, with an end to every wait. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { UserError } from '../common/errors';
import { replaceFile } from '../common/replace-file';
import { get, NetworkError, networkReason, withoutCredentials, type HttpResponse } from '../interop/network';

export interface DownloadOptions {
  url: string;
  /** Gets its name when it is whole and right; until then `file.part` grows. */
  file: string;
  bytes: number;
  sha256: string;
  signal?: AbortSignal | undefined;
  /** Bytes that are there, those of an earlier call included. */
  onProgress?: ((bytes: number) => void) | undefined;
  /** Wait before the first retry; doubled each time. */
  retryMilliseconds?: number | undefined;
}

const TRIES = 6; // in a row without a byte more
const LONGEST_WAIT = 30_000;

/**
 * Fetches a file unless it is there. Throws a UserError for refusals, for a file that is not what was promised, and when
 * the connection breaks time and again; the signal's reason when it is aborted. What was fetched stays for the next call.
 */
export async function download(options: DownloadOptions): Promise<void> {
  const { file, url, sha256, signal, onProgress } = options;
  if (fs.existsSync(file)) return onProgress?.(options.bytes);
  const part = `${file}.part`;
  await fs.promises.mkdir(path.dirname(file), { recursive: true });
  const resumed = sizeOf(part) > 0;
  await fetchAll(part, options);
  if (await hashOf(part, signal) === sha256) return replaceFile(part, file);
  await fs.promises.rm(part, { force: true });
  if (resumed) return download(options); // the beginning may have been another file's
  throw new UserError({
    what: 'this file is not the one that the index describes (its SHA-256 differs)', where: withoutCredentials(url).url,
    remedy: 'Try again; if it happens again, something on the way changes files (a proxy or mirror): do not use it.',
  });
}

/** Until the part has all its bytes. */
async function fetchAll(part: string, options: DownloadOptions): Promise<void> {
  const { bytes, signal, url, retryMilliseconds = 1000 } = options;
  let tries = 0;
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
  const { signal, url } = options;
  const have = Math.min(sizeOf(part), options.bytes);
  try {
    const response = await get(url, { headers: have > 0 ? { range: `bytes=${have}-` } : {}, signal });
    const refusal = await refused(response, url);
    if (refusal) return refusal;
    if (response.status === 416) {
      await fs.promises.rm(part, { force: true });
      return { reason: 'the server has no such part of it' };
    }
    await append(response, { part, have: rangeStart(response) === have ? have : 0, options });
    return sizeOf(part) === options.bytes ? null : { reason: `the server sent ${sizeOf(part)} bytes instead of ${options.bytes}` };
  } catch (error) {
    if (error instanceof UserError || signal?.aborted) throw signal?.aborted ? signal.reason : error;
    if (isDiskError(error)) throw diskError(error, part);
    return { reason: error instanceof NetworkError ? error.reason : networkReason(error) };
  }
}

/** Where the answer's bytes belong; 0 for a server that sends the whole file again. */
function rangeStart(response: HttpResponse): number {
  const match = response.status === 206 ? /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '') : null;
  return match ? Number(match[1]) : 0;
}

async function append(response: HttpResponse, { part, have, options }: { part: string; have: number; options: DownloadOptions }): Promise<void> {
  let done = have;
  const counting = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      done += chunk.length;
      options.onProgress?.(Math.min(done, options.bytes));
      yield chunk;
      if (done > options.bytes) throw new Error('the server sent more than it announced');
    }
  };
  if (!response.body) throw new Error('the server sent an empty answer');
  const target = fs.createWriteStream(part, { flags: have > 0 ? 'a' : 'w' });
  await pipeline(Readable.fromWeb(response.body), counting, target, { ...options.signal && { signal: options.signal } });
}

/** Refusals that another try will not change are thrown; busy servers are a failure to wait for. */
async function refused(response: HttpResponse, url: string): Promise<Failure | null> {
  const { status, statusText } = response;
  if (response.ok || status === 416) return null;
  await response.body?.cancel();
  if (status === 429 || status >= 500) {
    const after = Number(response.headers.get('retry-after'));
    return { reason: `the server answers ${status} ${statusText}`.trim(), waitMilliseconds: after > 0 ? after * 1000 : undefined };
  }
  const why = status === 404 ? 'there is no such file on the server' : `the server refuses it (${status} ${statusText})`.replace(' )', ')');
  throw new UserError({ what: why, where: withoutCredentials(url).url, remedy: 'Try again later, or name another index in PEFT_LAB_PYPI.' });
}

function brokenOff({ url, failure, done, bytes }: { url: string; failure: Failure; done: number; bytes: number }): UserError {
  return new UserError({
    what: `the download broke off at ${Math.floor(100 * done / bytes)} %: ${failure.reason}`, where: withoutCredentials(url).url,
    remedy: 'Run it again: it goes on from there.',
  });
}

async function hashOf(file: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(fs.createReadStream(file, { highWaterMark: 2 ** 20 }), hash, { ...signal && { signal } });
  return hash.digest('hex');
}

function sizeOf(file: string): number {
  return fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function isDiskError(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EACCES', 'EROFS'].includes(String((error as NodeJS.ErrnoException).code));
}

/** What to throw when a file cannot be written. */
export function diskError(error: unknown, file: string): unknown {
  if (!isDiskError(error)) return error;
  const full = ['ENOSPC', 'EDQUOT'].includes(String((error as NodeJS.ErrnoException).code));
  return new UserError({
    what: full ? 'the disk is full' : 'this folder cannot be written', where: path.dirname(file), cause: error,
    remedy: 'Free some space, or name another folder in the variable PEFT_LAB_DATA. What was fetched is kept.',
  });
}

function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => { clearTimeout(timer); reject(signal!.reason as Error); };
    const timer = setTimeout(() => { signal?.removeEventListener('abort', onAbort); resolve(); }, milliseconds);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
