/**
 * HTTP as people's networks need it: proxies from the environment (HTTPS_PROXY, NO_PROXY), certificates of a company
 * (SSL_CERT_FILE, PIP_CERT, npm's cafile beside NODE_EXTRA_CA_CERTS), redirects, and an end to every wait. Node.js 20's
 * own fetch knows no proxy.
 */
import fs from 'node:fs';
import tls from 'node:tls';
import { EnvHttpProxyAgent, errors, fetch, type Response } from 'undici';
import { UserError } from '../common/errors';

export interface RequestOptions {
  headers?: Record<string, string>;
  /** Ends the request; what it throws then is the signal's reason. */
  signal?: AbortSignal | undefined;
}

export type HttpResponse = Response;

const CONNECT_MILLISECONDS = 30_000;
const SILENCE_MILLISECONDS = 60_000;

/** Sends a GET request and resolves with whatever status came back; a name and password in the address go into a header. Throws a NetworkError when nothing did, a UserError for a proxy that is no address. */
export async function get(address: string, { headers = {}, signal }: RequestOptions = {}): Promise<HttpResponse> {
  const { url, headers: own } = withoutCredentials(address), dispatcher = agent();
  try {
    // Without "identity" a server may compress, and Range would count other bytes.
    return await fetch(url, { headers: { 'accept-encoding': 'identity', ...own, ...headers }, dispatcher, ...signal && { signal } });
  } catch (error) {
    signal?.throwIfAborted();
    throw new NetworkError(url, error);
  }
}

/** An address with a name and password in it as the address and the header that carries them. */
export function withoutCredentials(address: string): { url: string; headers: Record<string, string> } {
  const url = new URL(address);
  if (!url.username && !url.password) return { url: url.href, headers: {} };
  const credentials = [url.username, url.password].map(decodeURIComponent).join(':');
  [url.username, url.password] = ['', ''];
  return { url: url.href, headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` } };
}

/** No answer, or an answer that broke off. Worth another try. */
export class NetworkError extends Error {
  override readonly name = 'NetworkError';
  /** In words: `the connection was reset`. */
  readonly reason: string;

  constructor(readonly url: string, cause: unknown) {
    const reason = networkReason(cause);
    super(`${url}: ${reason}`, { cause });
    this.reason = reason;
  }
}

/** A NetworkError for the user, who may be behind a firewall. */
export function unreachable({ url, reason, cause }: NetworkError): UserError {
  return new UserError({
    what: `cannot reach ${new URL(url).host}: ${reason}`, where: url, cause,
    remedy: 'Check the network. Behind a proxy, set HTTPS_PROXY; with certificates of your own, NODE_EXTRA_CA_CERTS.',
  });
}

/** What failed, in words; the code where there are none. */
export function networkReason(error: unknown): string {
  const cause = innermost(error);
  const code = String((cause as NodeJS.ErrnoException).code ?? '');
  return reasons[code] ?? [code, cause.message].filter(Boolean).join(': ');
}

const reasons: Record<string, string> = {
  ENOTFOUND: 'its name is not known here (no network, or no DNS)',
  EAI_AGAIN: 'its name cannot be looked up (no network, or no DNS)',
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was closed',
  ETIMEDOUT: 'it does not answer',
  UND_ERR_CONNECT_TIMEOUT: 'it does not answer',
  UND_ERR_HEADERS_TIMEOUT: 'it sent nothing for a minute',
  UND_ERR_BODY_TIMEOUT: 'it sent nothing for a minute',
  UND_ERR_SOCKET: 'the connection was closed',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is signed by somebody unknown here',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is signed by somebody unknown here',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is signed by somebody unknown here',
  CERT_HAS_EXPIRED: 'its certificate has expired',
};

function innermost(error: unknown): Error {
  let inner = error instanceof Error ? error : new Error(String(error));
  while (inner.cause instanceof Error) inner = inner.cause;
  if (inner instanceof AggregateError && inner.errors[0] instanceof Error) inner = inner.errors[0];
  return inner;
}

let shared: EnvHttpProxyAgent | undefined;

function agent(): EnvHttpProxyAgent {
  return shared ??= makeAgent();
}

function makeAgent(): EnvHttpProxyAgent {
  const ca = certificates(process.env);
  try {
    return new EnvHttpProxyAgent({
      connect: { timeout: CONNECT_MILLISECONDS, ...ca && { ca } }, headersTimeout: SILENCE_MILLISECONDS, bodyTimeout: SILENCE_MILLISECONDS,
      ...ca && { requestTls: { ca }, proxyTls: { ca } },
    });
  } catch (cause) {
    if (!(cause instanceof errors.InvalidArgumentError || cause instanceof TypeError)) throw cause;
    throw new UserError({ what: `a proxy in the environment is not an address: ${(cause as Error).message}`, where: 'HTTP_PROXY, HTTPS_PROXY', remedy: 'Write it like http://proxy.example:3128.', cause });
  }
}

/** Node.js' own certificates and those in the files that other tools are told of; undefined where there are none of these. */
function certificates({ SSL_CERT_FILE, PIP_CERT, npm_config_cafile, NODE_EXTRA_CA_CERTS }: NodeJS.ProcessEnv): string[] | undefined {
  const files = [SSL_CERT_FILE, PIP_CERT, npm_config_cafile].filter(file => file && fs.existsSync(file));
  if (files.length === 0) return undefined;
  const all = new Set([...files, NODE_EXTRA_CA_CERTS].filter((file): file is string => Boolean(file && fs.existsSync(file))));
  return [...tls.rootCertificates, ...[...all].map(file => fs.readFileSync(file, 'utf8'))];
}
