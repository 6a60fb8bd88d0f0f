/** One launcher a store. */
import fs from 'node:fs';
import { lockHolderOf, takeFileLock, type Lock, type LockHolder } from '../common/file-lock';
import { writing } from './files';
import { storePaths } from './paths';

/** Takes the store's lock; a UserError when a live launcher has it. Creates the store. */
export function acquireLock(store: string): Lock {
  const { lock } = storePaths(store);
  return writing(lock, () => {
    fs.mkdirSync(store, { recursive: true });
    return takeFileLock(lock, { what: 'this study is being run already', remedy: 'Wait until it ends, or cancel it first.' });
  });
}

/** Who holds the store's lock and shows signs of life; null for nobody. */
export function lockHolder(store: string): LockHolder | null {
  return lockHolderOf(storePaths(store).lock);
}
