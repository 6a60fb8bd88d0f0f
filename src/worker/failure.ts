/** What to tell the user when a trial ends by an error. */
import { hasCode, UserError } from '../common/errors';

/** A UserError for what a user can mend: no memory, no space. Everything else comes back as it is. */
export function explainFailure(error: unknown, trialFolder: string): unknown {
  if (error instanceof UserError) return error;
  if (hasCode(error, 'ENOSPC', 'EDQUOT', 'EFBIG')) {
    return new UserError({
      what: 'the disk is full', where: trialFolder, cause: error,
      remedy: 'Free some space there, or set "output" in the study to a folder on another disk; then run again: it goes on from the last checkpoint.',
    });
  }
  if (isOutOfMemory(error)) {
    return new UserError({
      what: `there is not enough memory (${(error as Error).message.split('\n')[0] ?? ''})`, where: trialFolder, cause: error,
      remedy: 'Choose a smaller recipe.batchSize, close other programs, or take a smaller backbone; then run again: it goes on from the last checkpoint.',
    });
  }
  return error;
}

/** In the words of V8, of WebAssembly, of C++ and of ONNX Runtime. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && /out of memory|allocation failed|failed to allocate|bad_alloc|bad allocation|invalid typed array length|invalid array buffer length|cannot enlarge memory/i.test(error.message);
}
