/** What a study calls a backbone on the hub. */
import { UserError } from '../../common/errors';

export interface HubAddress {
  /** `owner/name`. */
  repository: string;
  /** Branch, tag or commit. */
  revision: string;
  /** Path in the repository; chosen when null. */
  file: string | null;
}

/** `owner/name`, `owner/name@revision`, or the parts. UserError for what cannot be on a hub. */
export function parseHubAddress(value: string | { repository: string; revision?: string | undefined; file?: string | undefined }): HubAddress {
  const [text, given] = typeof value === 'string' ? [value, {}] : [value.repository, value];
  const [name, tail] = splitOnce(text.replace(/^https:\/\/huggingface\.co\//, '').replace(/\/$/, ''), '@');
  const { revision = tail ?? 'main', file = null } = given as { revision?: string; file?: string };
  if (!/^[\w.-]{1,96}(\/[\w.-]{1,96})?$/.test(name) || /\.\.|--/.test(name)) throw wrong(text, 'this is no repository of a hub');
  if (!/^[\w./-]{1,200}$/.test(revision) || revision.split('/').some(part => /^\.*$/.test(part))) throw wrong(revision, 'this is no revision');
  if (file !== null && (!/^[^\\:*?"<>|\0]{1,500}$/.test(file) || file.split('/').some(part => /^\.*$/.test(part)))) throw wrong(file, 'this is no path in a repository');
  return { repository: name, revision, file };
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function wrong(where: string, what: string): UserError {
  return new UserError({ what, where: `"${where}"`, remedy: 'Write it like "timm/deit_tiny_patch16_224.fb_in1k", or as {"repository": ..., "revision": ..., "file": ...}.' });
}
