/** Downloads of what a package index describes. */
import * as files from '../interop/download';

export interface DownloadOptions extends Omit<files.DownloadOptions, 'checksum' | 'words'> {
  sha256: string;
}

const disk = 'Free some space, or name another folder in the variable PEFT_LAB_DATA. What was fetched is kept.';

/** See interop/download.ts. */
export function download({ sha256, ...options }: DownloadOptions): Promise<void> {
  return files.download({
    ...options, checksum: files.sha256(sha256),
    words: { source: 'the index', disk, refusal: () => ({ remedy: 'Try again later, or name another index in PEFT_LAB_PYPI.' }) },
  });
}

/** What to throw when a file cannot be written. */
export function diskError(error: unknown, file: string): unknown {
  return files.diskError(error, { file, remedy: disk });
}
