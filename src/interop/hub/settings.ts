/** Where the hub is, who asks, and where its files are kept: by the environment variables of Hugging Face's own tools. */
import os from 'node:os';
import path from 'node:path';
import { getHFHubCachePath } from '@huggingface/hub';
import { UserError } from '../../common/errors';

export interface HubSettings {
  /** Without a slash at its end. */
  endpoint: string;
  token: string | undefined;
  /** Absolute; shared with Python's huggingface_hub. */
  cache: string;
  isOffline: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE, HF_HOME, HF_HUB_OFFLINE. UserError for an endpoint that is no address. */
export function hubSettings(environment: Environment = process.env): HubSettings {
  const { HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE } = environment;
  const token = HF_TOKEN?.trim();
  return {
    endpoint: checkedEndpoint(HF_ENDPOINT?.trim() || 'https://huggingface.co'),
    token: token || undefined,
    cache: cacheFolder(environment),
    isOffline: isSet(HF_HUB_OFFLINE) || isSet(TRANSFORMERS_OFFLINE),
  };
}

/** As Python resolves it, `~` included. */
function cacheFolder(environment: Environment): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = environment;
  const named = HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || (HF_HOME && path.join(HF_HOME, 'hub')) || (XDG_CACHE_HOME && path.join(XDG_CACHE_HOME, 'huggingface', 'hub'));
  const folder = named || (environment === process.env ? getHFHubCachePath() : path.join(os.homedir(), '.cache', 'huggingface', 'hub'));
  return path.resolve(folder.replace(/^~(?=$|[/\\])/, os.homedir()));
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && /^(1|true|yes|on)$/i.test(value.trim());
}

function checkedEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url && /^https?:$/.test(url.protocol)) return text.replace(/\/+$/, '');
  throw new UserError({ what: `"${text}" is no address of a hub`, where: 'HF_ENDPOINT', remedy: 'Write it like https://huggingface.co, or unset it.' });
}
