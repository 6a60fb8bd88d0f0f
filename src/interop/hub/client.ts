/** What the hub says of a repository: its commit and its files. Few tries, and an end to every wait. */
import { HubApiError, listFiles, modelInfo, type ListFileEntry } from '@huggingface/hub';
import { UserError } from '../../common/errors';
import { retryAfter, sleep } from '../download';
import { get, NetworkError, unreachable, type HttpResponse } from '../network';
import type { HubAddress } from './repository';
import type { HubSettings } from './settings';

export interface HubFile {
  path: string;
  bytes: number;
  /** Names its blob in the cache: sha256 of large files, git's own hash of small ones. */
  etag: string;
  isLarge: boolean;
}

export interface HubListing {
  commit: string;
  /** Of the folder that was asked for. */
  files: readonly HubFile[];
}

export interface HubRequest {
  settings: HubSettings;
  signal?: AbortSignal | undefined;
  /** Wait before the first retry; doubled each time. */
  retryMilliseconds?: number | undefined;
}

/** The hub cannot be asked now: no network, or it is too busy. What is in the cache may serve. */
export class HubUnavailable extends Error {
  override readonly name = 'HubUnavailable';
  constructor(readonly explained: UserError) {
    super(explained.message, { cause: explained });
  }
}

/** Files of `folder` ('' is the root) at the address's revision. UserErrors for 401, 403 and 404; HubUnavailable. */
export async function listHubFiles({ repository, revision }: HubAddress, folder: string, request: HubRequest): Promise<HubListing> {
  const { settings: { endpoint }, signal } = request;
  const fetch = patientFetch(request);
  try {
    const { sha: commit } = await modelInfo({ name: repository, revision, hubUrl: endpoint, additionalFields: ['sha'], fetch });
    if (!/^[0-9a-f]{40}$/.test(commit)) throw new UserError({ what: `the hub names no commit of "${revision}"`, where: `${endpoint}/${repository}`, remedy: 'Check HF_ENDPOINT.' });
    const files: HubFile[] = [];
    const entries = listFiles({ repo: { type: 'model', name: repository }, revision: commit, hubUrl: endpoint, fetch, ...folder && { path: folder } });
    for await (const entry of entries) if (entry.type === 'file') files.push(toHubFile(entry, repository));
    return { commit, files };
  } catch (error) {
    signal?.throwIfAborted();
    throw explain(error, { repository, revision }, request);
  }
}

/** The header that says who asks; for the hub's own addresses only. */
export function authorization({ token }: HubSettings): Record<string, string> {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** Where a file's content is. */
export function contentAddress({ endpoint }: HubSettings, repository: string, commit: string, file: string): string {
  return `${endpoint}/${repository}/resolve/${commit}/${file.split('/').map(encodeURIComponent).join('/')}`;
}

/** In words, for a status that another try will not change. */
export function refusalWords({ repository, revision }: Pick<HubAddress, 'repository' | 'revision'>, { endpoint, token }: HubSettings, status: number): { what?: string; remedy: string } {
  const known = token ? 'the token in HF_TOKEN is not accepted for it' : 'no token is given';
  const giveToken = `Accept its terms on ${endpoint}/${repository}, and give a token: HF_TOKEN, or the command "PEFT Lab: Set Hugging Face Token".`;
  if (status === 401) return { what: `the hub does not show ${repository}: it does not exist, or is private or gated, and ${known}`, remedy: `Check the name. ${giveToken}` };
  if (status === 403) return { what: `access to ${repository} is refused: it is gated, and ${known}`, remedy: giveToken };
  if (status === 404) return { what: `there is no ${repository} with revision "${revision}" on the hub`, remedy: 'Check the name and the revision.' };
  return { remedy: 'Try again later, or check HF_ENDPOINT.' };
}

function toHubFile({ path, size, oid, lfs }: ListFileEntry, repository: string): HubFile {
  const etag = lfs?.oid ?? oid ?? '';
  const isWellFormed = /^[0-9a-f]+$/.test(etag) && etag.length === (lfs ? 64 : 40) && Number.isSafeInteger(lfs?.size ?? size);
  if (!isWellFormed) throw new UserError({ what: `the hub gives no checksum of ${path}`, where: repository, remedy: 'Check HF_ENDPOINT, or download the file yourself and name it in "backbone.file".' });
  return { path, bytes: lfs?.size ?? size, etag, isLarge: Boolean(lfs) };
}

const TRIES = 4;
const LONGEST_WAIT = 60_000;

/** For the hub's client: our own network, the token on the hub's own addresses, and a few tries. */
function patientFetch({ settings, signal, retryMilliseconds = 1000 }: HubRequest): typeof globalThis.fetch {
  const ask = async (address: string): Promise<HttpResponse> => {
    for (let attempt = 1; ; attempt++) {
      const isOwn = new URL(address).origin === new URL(settings.endpoint).origin;
      const response = await get(address, { headers: isOwn ? authorization(settings) : {}, signal }).catch((error: unknown) => {
        if (error instanceof NetworkError) return error;
        throw error;
      });
      const isBusy = !(response instanceof NetworkError) && (response.status === 429 || response.status >= 500);
      if (!(response instanceof NetworkError) && !isBusy) return response;
      const asked = response instanceof NetworkError ? undefined : retryAfter(response);
      if (attempt === TRIES || (asked ?? 0) > LONGEST_WAIT) throw response instanceof NetworkError ? response : await busy(response, asked);
      if (!(response instanceof NetworkError)) await response.body?.cancel();
      await sleep(asked ?? retryMilliseconds * 2 ** (attempt - 1), signal);
    }
  };
  return ((input: string | URL) => ask(String(input))) as unknown as typeof globalThis.fetch;
}

async function busy(response: HttpResponse, asked: number | undefined): Promise<HubUnavailable> {
  await response.body?.cancel();
  const limit = response.status === 429 ? 'too many requests' : 'the hub has trouble of its own';
  const when = asked === undefined ? 'later' : `in ${Math.ceil(asked / 1000)} seconds`;
  return new HubUnavailable(new UserError({
    what: `the hub answers ${response.status}: ${limit}`, where: response.url,
    remedy: `Try again ${when}.${response.status === 429 ? ' A token (HF_TOKEN) raises the limit.' : ''}`,
  }));
}

function explain(error: unknown, address: Pick<HubAddress, 'repository' | 'revision'>, { settings }: HubRequest): unknown {
  if (error instanceof NetworkError) return new HubUnavailable(unreachable(error));
  if (!(error instanceof HubApiError)) return error;
  const { what = `the hub answers ${error.statusCode}`, remedy } = refusalWords(address, settings, error.statusCode);
  return new UserError({ what, where: `${settings.endpoint}/${address.repository}`, remedy, cause: error });
}
