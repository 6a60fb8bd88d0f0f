/** What a launcher says before there are trials to look at, as a file of the store: who watches from another process reads it. */
import fs from 'node:fs';
import { writeAtomic } from '../store/files';
import { storePaths } from '../store/paths';

export interface Preparing {
  /** At most twice a second. */
  say(text: string): void;
  /** Takes the text away. */
  end(): void;
}

export function tellPreparing(store: string): Preparing {
  const file = storePaths(store).preparing;
  let next = 0;
  return {
    say(text) {
      if (Date.now() < next) return;
      next = Date.now() + 500;
      // A full disk must not end the preparation.
      try { writeAtomic(file, text); } catch { /* see above */ }
    },
    end() {
      next = Infinity; // what is still under way has nothing to say any more
      fs.rmSync(file, { force: true });
    },
  };
}
