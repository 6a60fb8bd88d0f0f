/**
 * Counter-based random numbers: value i of a stream is a pure function of (key, i), and a key of (seed, names, step).
 * A resumed trial and every engine therefore see the same numbers, and nothing has to be stored.
 */

/** Two 32-bit words; see `streamKey`. */
export type StreamKey = readonly [number, number];

/** The stream of a seed for a purpose: `streamKey(42, 'dropout', 'blocks.3.lora', step)`. */
export function streamKey(seed: number, ...parts: readonly (string | number)[]): StreamKey {
  let a = mix(seed ^ 0x9e3779b9);
  let b = mix(Math.floor(seed / 2 ** 32) ^ 0x85ebca6b);
  for (const part of parts) {
    const text = typeof part === 'number' ? `#${part}` : part;
    for (let i = 0; i < text.length; i++) {
      a = mix(a ^ text.charCodeAt(i));
      b = mix((b + Math.imul(text.charCodeAt(i), 0x27d4eb2d)) ^ a);
    }
    a = mix(a ^ 0x165667b1); // so that ('ab', 'c') and ('a', 'bc') differ
  }
  return [a >>> 0, b >>> 0];
}

/** 32 random bits, value `counter` of the stream. */
export function randomBits([a, b]: StreamKey, counter: number): number {
  return mix(mix((counter + a) | 0) ^ b) >>> 0;
}

/** Uniform in [0, 1), 32 bits of it. */
export function uniform(key: StreamKey, counter: number): number {
  return randomBits(key, counter) / 2 ** 32;
}

/** Standard normal numbers (Box-Muller), `count` of them. */
export function normals(key: StreamKey, count: number): Float32Array {
  const out = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log((randomBits(key, i) + 1) / 2 ** 32));
    const angle = 2 * Math.PI * uniform(key, i + 1);
    out[i] = radius * Math.cos(angle);
    if (i + 1 < count) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}

/** 0 .. count-1 in random order (Fisher-Yates). */
export function permutation(key: StreamKey, count: number): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(uniform(key, i) * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** Fills `mask` with 1 where an element is kept and 0 where it is dropped; `rate` is met to 1 / 65536. */
export function fillKeepMask(mask: Uint8Array, rate: number, key: StreamKey): void {
  const threshold = Math.round(rate * 65536);
  for (let i = 0; i < mask.length; i += 2) {
    const bits = randomBits(key, i >>> 1);
    mask[i] = (bits & 0xffff) >= threshold ? 1 : 0;
    if (i + 1 < mask.length) mask[i + 1] = (bits >>> 16) >= threshold ? 1 : 0;
  }
}

/** A bijection of 32 bits with full avalanche (the finaliser of MurmurHash3). */
function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}
