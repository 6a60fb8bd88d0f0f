/** All tensors of a safetensors file in memory, as float32. */
import { openSafetensors } from './safetensors';

export interface FloatTensor {
  shape: readonly number[];
  data: Float32Array;
}
export type FloatTensors = Record<string, FloatTensor>;

/** UserErrors as those of openSafetensors; integers are refused. */
export async function readFloatTensors(file: string): Promise<FloatTensors> {
  const opened = await openSafetensors(file);
  try {
    const tensors: FloatTensors = {};
    for (const [name, { shape }] of opened.tensors) tensors[name] = { shape, data: await opened.read(name) };
    return tensors;
  } finally {
    await opened.close();
  }
}

/** Rows `from` to `to` of the first axis, without a copy. */
export function rowsOf({ shape, data }: FloatTensor, from: number, to: number): FloatTensor {
  const size = shape.slice(1).reduce((a, b) => a * b, 1);
  return { shape: [to - from, ...shape.slice(1)], data: data.subarray(from * size, to * size) };
}

/** One below the other along the first axis. */
export function stackRows(parts: readonly FloatTensor[]): FloatTensor {
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return { shape: [parts.reduce((sum, { shape }) => sum + shape[0]!, 0), ...parts[0]!.shape.slice(1)], data };
}

export function scaled({ shape, data }: FloatTensor, factor: number): FloatTensor {
  return { shape, data: factor === 1 ? data : data.map(value => value * factor) };
}

export function zeros(...shape: number[]): FloatTensor {
  return { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
}
