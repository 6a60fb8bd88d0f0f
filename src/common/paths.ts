import os from 'node:os';
import path from 'node:path';

/** Where decoded images and other things that can be made again are kept: PEFT_LAB_CACHE, else the system's cache folder. */
export function cacheFolder({ platform = process.platform, environment = process.env, home = os.homedir() }: CacheFolderOptions = {}): string {
  const { PEFT_LAB_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = environment;
  if (PEFT_LAB_CACHE) return path.resolve(PEFT_LAB_CACHE);
  if (platform === 'win32') return path.join(LOCALAPPDATA ?? path.join(home, 'AppData', 'Local'), 'peft-lab', 'Cache');
  if (platform === 'darwin') return path.join(home, 'Library', 'Caches', 'peft-lab');
  return path.join(XDG_CACHE_HOME && path.isAbsolute(XDG_CACHE_HOME) ? XDG_CACHE_HOME : path.join(home, '.cache'), 'peft-lab');
}

export interface CacheFolderOptions {
  platform?: NodeJS.Platform;
  environment?: Record<string, string | undefined>;
  home?: string;
}
