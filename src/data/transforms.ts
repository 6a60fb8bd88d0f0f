/**
 * What happens between a decoded image and the square that the backbone sees; as torchvision does it, with bicubic
 * resizing. All randomness is a function of (seed, epoch, sample), so any step can be prepared on its own.
 */
import { streamKey, uniform, type StreamKey } from '../common/random';
import type { Recipe } from '../common/study';
import type { Pixels } from './decode';
import { crop, resize, type Box } from './resize';

export type Resize = Recipe['resize'];
export type Augmentation = Recipe['augmentation'][number];

/** The image as evaluation sees it: [imageSize, imageSize, 3]. */
export function fit(image: Pixels, { imageSize, mode }: { imageSize: number; mode: Resize }): Pixels {
  return mode === 'stretch' ? resize(image, { width: imageSize, height: imageSize }) : centreCrop(image, imageSize);
}

export interface AugmentOptions {
  imageSize: number;
  /** How to reach the square where no random crop does. */
  mode: Resize;
  augmentation: readonly Augmentation[];
  seed: number;
  epoch: number;
  /** Index of the sample in the training set. */
  sample: number;
}

/** The image as a training step sees it: [imageSize, imageSize, 3]. */
export function augment(image: Pixels, { imageSize, mode, augmentation, seed, epoch, sample }: AugmentOptions): Pixels {
  const key = (purpose: Augmentation) => streamKey(seed, 'augment', purpose, epoch, sample);
  const box = augmentation.includes('random-resized-crop') ? randomBox(image, key('random-resized-crop')) : undefined;
  let square = box ? resize(image, { width: imageSize, height: imageSize, box }) : fit(image, { imageSize, mode });
  if (augmentation.includes('horizontal-flip') && coin(key('horizontal-flip'))) square = flipHorizontally(square);
  if (augmentation.includes('vertical-flip') && coin(key('vertical-flip'))) square = flipVertically(square);
  return square;
}

/** Whether resizing the short side leaves a long side that memory can hold. */
export function canFit({ width, height }: { width: number; height: number }, { imageSize, mode }: { imageSize: number; mode: Resize }): boolean {
  return mode === 'stretch' || imageSize * Math.max(width, height) / Math.min(width, height) < 50_000;
}

/** Short side to 256/224 of the square, then the centre, as torchvision's Resize and CenterCrop round. */
function centreCrop(image: Pixels, imageSize: number): Pixels {
  const short = Math.round(imageSize * 256 / 224), shortest = Math.min(image.width, image.height);
  const side = (length: number) => length === shortest ? short : Math.trunc(short * length / shortest);
  const resized = resize(image, { width: side(image.width), height: side(image.height) });
  return crop(resized, { left: middle(resized.width, imageSize), top: middle(resized.height, imageSize), width: imageSize, height: imageSize });
}

/** Python's round((outer - inner) / 2): halves go to the even neighbour. */
function middle(outer: number, inner: number): number {
  const exact = (outer - inner) / 2, below = Math.floor(exact);
  return exact - below === 0.5 ? below + (below % 2) : Math.round(exact);
}

const scaleRange = [0.08, 1] as const;
const ratioRange = [3 / 4, 4 / 3] as const;

/** torchvision's RandomResizedCrop: area and aspect ratio at random, ten tries, then the largest allowed centre. */
export function randomBox({ width, height }: { width: number; height: number }, key: StreamKey): Box {
  let counter = 0;
  const between = (low: number, high: number) => low + (high - low) * uniform(key, counter++);
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = width * height * between(...scaleRange);
    const ratio = Math.exp(between(Math.log(ratioRange[0]), Math.log(ratioRange[1])));
    const w = Math.round(Math.sqrt(area * ratio)), h = Math.round(Math.sqrt(area / ratio));
    if (w > 0 && h > 0 && w <= width && h <= height) {
      return { left: Math.floor(between(0, width - w + 1)), top: Math.floor(between(0, height - h + 1)), width: w, height: h };
    }
  }
  return centreBox(width, height);
}

function centreBox(width: number, height: number): Box {
  const ratio = width / height;
  const w = ratio > ratioRange[1] ? Math.max(1, Math.round(height * ratioRange[1])) : width;
  const h = ratio < ratioRange[0] ? Math.max(1, Math.round(width / ratioRange[0])) : height;
  return { left: Math.floor((width - w) / 2), top: Math.floor((height - h) / 2), width: w, height: h };
}

function coin(key: StreamKey): boolean {
  return uniform(key, 0) < 0.5;
}

function flipHorizontally({ data, width, height }: Pixels): Pixels {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + x) * 3, to = (y * width + width - 1 - x) * 3;
      out[to] = data[from]!;
      out[to + 1] = data[from + 1]!;
      out[to + 2] = data[from + 2]!;
    }
  }
  return { data: out, width, height };
}

function flipVertically({ data, width, height }: Pixels): Pixels {
  const out = new Uint8Array(data.length), row = width * 3;
  for (let y = 0; y < height; y++) out.set(data.subarray(y * row, (y + 1) * row), (height - 1 - y) * row);
  return { data: out, width, height };
}
