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

/** Where what was installed lies, as long as it is not removed: PEFT_LAB_DATA, else the system's folder for data of programs. */
export function dataFolder({ platform = process.platform, environment = process.env, home = os.homedir() }: CacheFolderOptions = {}): string {
  const { PEFT_LAB_DATA, XDG_DATA_HOME, LOCALAPPDATA } = environment;
  if (PEFT_LAB_DATA) return path.resolve(PEFT_LAB_DATA);
  if (platform === 'win32') return path.join(LOCALAPPDATA ?? path.join(home, 'AppData', 'Local'), 'peft-lab', 'Data');
  if (platform === 'darwin') return path.join(home, 'Library', 'Application Support', 'peft-lab');
  return path.join(XDG_DATA_HOME && path.isAbsolute(XDG_DATA_HOME) ? XDG_DATA_HOME : path.join(home, '.local', 'share'), 'peft-lab');
}
