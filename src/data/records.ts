/** Finished inputs of a model, one matrix an image, read from a cache of segments into batches. */
import { halfToFloat } from '../interop/half';
import type { RecordSource } from './batch-protocol';
import { openSegmentCache, type SegmentCache } from './segment-cache';

export interface Records {
  /** Numbers that a batch takes. */
  length(batch: number): number;
  /** Writes a sample's matrix as image `image` of a batch: row r becomes row `r * batch + image`. */
  put(sample: number, place: { image: number; batch: number }, out: Float32Array): void;
  /** Writes zeros there. */
  clear(place: { image: number; batch: number }, out: Float32Array): void;
  close(): Promise<void>;
}

/** Single rows up to this many bytes in all are kept in memory; otherwise the system's file cache is trusted to have them. */
const largestInMemory = 256 * 2 ** 20;

/** `contents` names the record of each sample. Reads every record once, and so finds damaged ones. */
export async function openRecords(source: RecordSource, contents: readonly string[]): Promise<{ records: Records; missing: number[] }> {
  const { folder, rows, columns } = source;
  const cache = await openSegmentCache({ what: 'computed features', folder });
  const inMemory = rows === 1 && contents.length * columns * 4 <= largestInMemory ? new Float32Array(contents.length * columns) : null;
  const state = new Map<string, boolean>();
  const missing = contents.flatMap((content, i) => {
    const known = inMemory ? undefined : state.get(content);
    const values = known === undefined ? readRecord(cache, content, source) : null;
    const isThere = known ?? values !== null;
    state.set(content, isThere);
    if (inMemory && values) inMemory.set(values, i * columns);
    return isThere ? [] : [i];
  });
  const valuesOf = (sample: number) => {
    if (inMemory) return inMemory.subarray(sample * columns, (sample + 1) * columns);
    const values = readRecord(cache, contents[sample]!, source);
    if (!values) throw new Error(`a record of the cache in ${folder} was damaged while it was in use`);
    return values;
  };
  return {
    missing,
    records: {
      length: batch => batch * rows * columns,
      put(sample, { image, batch }, out) {
        const values = valuesOf(sample);
        if (rows === 1) return out.set(values, image * columns);
        for (let row = 0; row < rows; row++) out.set(values.subarray(row * columns, (row + 1) * columns), (row * batch + image) * columns);
      },
      clear({ image, batch }, out) {
        for (let row = 0; row < rows; row++) out.fill(0, (row * batch + image) * columns, (row * batch + image + 1) * columns);
      },
      close: () => cache.close(),
    },
  };
}

/** [rows * columns]; null where it is absent, damaged or of another shape. Valid until the next read. */
function readRecord(cache: SegmentCache, content: string, { rows, columns, precision }: RecordSource): Float32Array | null {
  const record = cache.read(content);
  const bytes = precision === 'f16' ? 2 : 4;
  if (record?.height !== rows || record.width !== columns || record.data.length !== rows * columns * bytes) return null;
  const { buffer, byteOffset } = record.data;
  return precision === 'f16' ? halfToFloat(new Uint16Array(buffer, byteOffset, rows * columns)) : new Float32Array(buffer, byteOffset, rows * columns);
}
