/**
 * The .npy format: magic, version, a Python dict with dtype, order and shape, then the numbers.
 * Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
import { UserError } from '../common/errors';
import { permute, product } from './arrays';
import { bfloatToFloat, halfToFloat } from './half';

export interface NpyHeader {
  /** NumPy's own name: `<f4`. */
  dtype: string;
  shape: number[];
  /** Column-major: the first axis runs fastest. */
  fortranOrder: boolean;
  /** Where the numbers begin. */
  dataStart: number;
  /** Of the numbers. */
  dataBytes: number;
}

/** As many bytes at the start of a file hold the header of any array that a backbone has. */
export const npyHeaderBytes = 4096;

/** `where` names file and array. UserError for what is no .npy, for object arrays (they are pickles) and for other types. */
export function parseNpyHeader(bytes: Uint8Array, where: string): NpyHeader {
  if (bytes.length < 12 || Buffer.from(bytes.subarray(0, 6)).toString('latin1') !== '\x93NUMPY') throw malformed(where, 'it does not begin as an array of NumPy does');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [length, start] = bytes[6] === 1 ? [view.getUint16(8, true), 10] : [view.getUint32(8, true), 12];
  if (start + length > bytes.length) throw malformed(where, `its header claims ${length} bytes`);
  return { ...parseDict(Buffer.from(bytes.subarray(start, start + length)).toString('latin1'), where), dataStart: start + length };
}

/** The numbers as float32, row-major. UserError for types that hold no real numbers. */
export function readNpyNumbers(bytes: ArrayBuffer, { dtype, shape, fortranOrder }: NpyHeader, where: string): Float32Array {
  const convert = toFloat[dtype];
  if (!convert) throw new UserError({ what: `floating point numbers are needed, and these are ${dtype}`, where, remedy: 'Save the array as float32 or float16.' });
  const data = convert(bytes);
  if (!fortranOrder || shape.length < 2) return data;
  return permute(data, [...shape].reverse(), shape.map((_, axis) => shape.length - 1 - axis));
}

const toFloat: Record<string, (bytes: ArrayBuffer) => Float32Array> = {
  '<f4': bytes => new Float32Array(bytes),
  '<f2': bytes => halfToFloat(new Uint16Array(bytes)),
  '<f8': bytes => Float32Array.from(new Float64Array(bytes)),
  // NumPy has no bfloat16: JAX's arrays are saved as two opaque bytes.
  '|V2': bytes => bfloatToFloat(new Uint16Array(bytes)),
  '<V2': bytes => bfloatToFloat(new Uint16Array(bytes)),
};

function parseDict(text: string, where: string): Omit<NpyHeader, 'dataStart'> {
  const dtype = /'descr':\s*'([^']*)'/.exec(text)?.[1];
  const order = /'fortran_order':\s*(True|False)/.exec(text)?.[1];
  const sides = /'shape':\s*\(([\d,\s]*)\)/.exec(text)?.[1];
  if (dtype === undefined || order === undefined || sides === undefined) throw malformed(where, 'its header is not that of a plain array');
  if (/^\|?O/.test(dtype)) throw malformed(where, 'it holds Python objects, a pickle, which is never opened');
  const itemBytes = Number(/\d+$/.exec(dtype)?.[0] ?? NaN);
  if (!(itemBytes > 0)) throw malformed(where, `its type ${dtype} is unknown`);
  const shape = sides.split(',').map(side => side.trim()).filter(Boolean).map(Number);
  const dataBytes = product(shape) * itemBytes;
  if (!Number.isSafeInteger(dataBytes)) throw malformed(where, `its shape ${JSON.stringify(shape)} cannot be`);
  return { dtype, shape, fortranOrder: order === 'True', dataBytes };
}

function malformed(where: string, reason: string): UserError {
  return new UserError({ what: reason, where, remedy: 'The file is damaged or holds something else than arrays of numbers: fetch or write it again.' });
}
