/** Squares of pixels to the rows that the patch embedding multiplies. */
import type { ChannelNormalization } from '../common/trial';

export interface PatchLayout {
  imageSize: number;
  patch: number;
  /** Images that share `out`. */
  batch: number;
  normalization: ChannelNormalization;
}

/** How many numbers a batch takes: [tokens * batch, 3 * patch * patch]. */
export function patchLength({ imageSize, patch, batch }: Pick<PatchLayout, 'imageSize' | 'patch' | 'batch'>): number {
  const side = Math.floor(imageSize / patch);
  return side * side * batch * 3 * patch * patch;
}

export interface Patchifier {
  /** Writes an image, u8 [imageSize, imageSize, 3], as number `image` of the batch. */
  put(pixels: Uint8Array, image: number, out: Float32Array): void;
  /** Writes zeros as number `image` of the batch. */
  clear(image: number, out: Float32Array): void;
}

/** All of a batch at once: u8 [batch, imageSize, imageSize, 3] -> f32 [tokens * batch, 3 * patch * patch]. */
export function patchify(pixels: Uint8Array, layout: PatchLayout): Float32Array {
  const out = new Float32Array(patchLength(layout)), size = layout.imageSize ** 2 * 3;
  const { put } = openPatchifier(layout);
  for (let image = 0; image < layout.batch; image++) put(pixels.subarray(image * size, (image + 1) * size), image, out);
  return out;
}

/**
 * Normalises, (x / 255 - mean) / std, and reorders. Rows are token-major, `token * batch + image`, tokens row by row of
 * the image and without the class token; columns are those of a flattened convolution weight [3, patch, patch].
 */
export function openPatchifier({ imageSize, patch, batch, normalization }: PatchLayout): Patchifier {
  if (imageSize % patch) throw new RangeError(`an image of ${imageSize} pixels has no whole number of patches of ${patch}`);
  const side = imageSize / patch, columns = 3 * patch * patch;
  const tables = normalization.mean.map((mean, c) => normalizedValues(mean, normalization.std[c]!));
  const put = (pixels: Uint8Array, image: number, out: Float32Array) => {
    for (let token = 0; token < side * side; token++) {
      const corner = (Math.floor(token / side) * patch * imageSize + (token % side) * patch) * 3;
      let to = (token * batch + image) * columns;
      for (let c = 0; c < 3; c++) {
        const table = tables[c]!;
        for (let y = 0; y < patch; y++) {
          let from = corner + y * imageSize * 3 + c;
          for (let x = 0; x < patch; x++, from += 3) out[to++] = table[pixels[from]!]!;
        }
      }
    }
  };
  const clear = (image: number, out: Float32Array) => {
    for (let token = 0; token < side * side; token++) {
      const row = (token * batch + image) * columns;
      out.fill(0, row, row + columns);
    }
  };
  return { put, clear };
}

/** What each of the 256 pixel values becomes; float32 steps in the order that ToTensor and Normalize take them. */
function normalizedValues(mean: number, std: number): Float32Array {
  const f = Math.fround;
  return Float32Array.from({ length: 256 }, (_, value) => f(f(f(value / 255) - f(mean)) / f(std)));
}
