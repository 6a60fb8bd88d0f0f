import { UserError } from '../common/errors';
import { nearest } from '../common/nearest';
import type { Architecture } from '../common/trial';

/** What the flag --arch names. */
export async function knownArchitecture(name: string): Promise<Architecture> {
  const { findPreset, presetNames, presets } = await import('../vit/presets');
  const found = findPreset(name);
  if (found) return found;
  const near = nearest(name, presetNames());
  throw new UserError({ what: `unknown architecture "${name}"${near ? `; did you mean "${near}"?` : ''}`, where: '--arch', remedy: `Known: ${Object.keys(presets).join(', ')}.` });
}
