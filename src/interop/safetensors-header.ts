/**
 * The header of a safetensors file: eight bytes of length, then JSON that gives each tensor's dtype, shape and byte
 * range. Everything a file claims is checked before a byte of a tensor is read.
 * Format: https://github.com/huggingface/safetensors#format
 */
import { visit } from 'jsonc-parser';
import { UserError } from '../common/errors';

export interface TensorEntry {
  dtype: string;
  shape: number[];
  /** Byte range in the file. */
  start: number;
  end: number;
}

export interface SafetensorsHeader {
  metadata: Record<string, string>;
  /** In the order of their data. */
  tensors: Map<string, TensorEntry>;
}

/** More than any real file has; the format's own reader draws the same line. */
export const maximumHeaderBytes = 100_000_000;

/** Bytes of one element. */
export const elementBytes: Record<string, number> = {
  BOOL: 1, U8: 1, I8: 1, F8_E5M2: 1, F8_E4M3: 1, I16: 2, U16: 2, F16: 2, BF16: 2,
  I32: 4, U32: 4, F32: 4, I64: 8, U64: 8, F64: 8, C64: 8,
};

export interface HeaderSource {
  file: string;
  /** Of the whole file. */
  fileBytes: number;
  /** The header without its length. */
  bytes: Uint8Array;
}

/** The header's length from the first eight bytes; refuses what cannot be. */
export function headerLength(first: Uint8Array, { file, fileBytes }: Omit<HeaderSource, 'bytes'>): number {
  if (first.length < 8) throw malformed(file, `the file is truncated: ${fileBytes} bytes, where the header's length alone takes 8`);
  const length = new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true);
  if (length > maximumHeaderBytes) throw malformed(file, `the header claims ${length} bytes; more than 100 MB is refused`);
  if (Number(length) > fileBytes - 8) {
    throw malformed(file, `the file is truncated: the header claims ${length} bytes and ${fileBytes - 8} follow`);
  }
  return Number(length);
}

export function parseHeader(source: HeaderSource): SafetensorsHeader {
  const { file, bytes, fileBytes } = source;
  const text = decode(source);
  const json = parseObject(file, text);
  refuseDuplicates(file, text);
  const dataStart = 8 + bytes.length;
  const tensors = new Map<string, TensorEntry>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') metadata = parseMetadata(file, value);
    else tensors.set(name, parseEntry(file, name, value, dataStart));
  }
  const ordered = inFileOrder(tensors);
  checkCoverage(ordered, { file, dataStart, fileBytes });
  return { metadata, tensors: new Map(ordered) };
}

export function malformed(file: string, reason: string, tensor?: string): UserError {
  return new UserError({
    what: reason,
    where: tensor === undefined ? file : `${file} (tensor '${tensor}')`,
    remedy: 'The file is damaged or not safetensors: fetch or write it again.',
  });
}

function decode({ file, bytes }: HeaderSource): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw malformed(file, 'the header is not UTF-8 text');
  }
}

function parseObject(file: string, text: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw malformed(file, `the header is not JSON (${(error as Error).message})`);
  }
  if (!isObject(json)) throw malformed(file, 'the header is not a JSON object');
  return json;
}

/** JSON.parse keeps the last of two equal keys silently: two readers could then see two different files. */
function refuseDuplicates(file: string, text: string): void {
  const seen = new Set<string>();
  visit(text, {
    onObjectProperty(name, _offset, _length, _line, _column, parent) {
      const path = [...parent(), name];
      const key = JSON.stringify(path);
      if (!seen.has(key)) seen.add(key);
      else throw malformed(file, `the header has the key '${path.join('.')}' twice`);
    },
  });
}

function parseMetadata(file: string, value: unknown): Record<string, string> {
  if (isObject(value) && Object.values(value).every(v => typeof v === 'string')) return value as Record<string, string>;
  throw malformed(file, '__metadata__ is not an object of strings');
}

function parseEntry(file: string, tensor: string, value: unknown, dataStart: number): TensorEntry {
  if (!isObject(value)) throw malformed(file, 'its entry is not an object', tensor);
  const { dtype, shape, data_offsets: offsets } = value;
  const size = typeof dtype === 'string' && Object.hasOwn(elementBytes, dtype) ? elementBytes[dtype] : undefined;
  if (size === undefined) throw malformed(file, `unknown dtype ${JSON.stringify(dtype)}`, tensor);
  if (!isCounts(shape)) throw malformed(file, `its shape ${JSON.stringify(shape)} is not a list of whole numbers`, tensor);
  if (!isCounts(offsets) || offsets.length !== 2) throw malformed(file, `its data_offsets ${JSON.stringify(offsets)} are not two whole numbers`, tensor);
  const [start, end] = offsets as [number, number];
  const bytes = shape.reduce((product, side) => product * side, size);
  if (end < start) throw malformed(file, `its data_offsets [${start}, ${end}] end before they start`, tensor);
  if (end - start !== bytes) {
    throw malformed(file, `its data_offsets hold ${end - start} bytes, where ${String(dtype)} [${shape.join(', ')}] takes ${bytes}`, tensor);
  }
  return { dtype: dtype as string, shape, start: dataStart + start, end: dataStart + end };
}

function inFileOrder(tensors: Map<string, TensorEntry>): [string, TensorEntry][] {
  return [...tensors].sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
}

interface DataRange {
  file: string;
  /** Where the header ends. */
  dataStart: number;
  fileBytes: number;
}

/** Ranges must follow each other without overlap or hole and end with the file. */
function checkCoverage(ordered: [string, TensorEntry][], { file, dataStart, fileBytes }: DataRange): void {
  let position = dataStart;
  let previous: string | undefined;
  for (const [name, { start, end }] of ordered) {
    if (end > fileBytes) throw malformed(file, `its data end ${end - fileBytes} bytes beyond the end of the file, which is truncated or has a wrong header`, name);
    if (start < position) throw malformed(file, `its data overlap those of '${previous}'`, name);
    if (start > position) throw malformed(file, `a hole of ${start - position} bytes precedes its data`, name);
    position = end;
    previous = name;
  }
  if (position < fileBytes) throw malformed(file, `${fileBytes - position} bytes at the end belong to no tensor`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(side => Number.isSafeInteger(side) && (side as number) >= 0);
}
