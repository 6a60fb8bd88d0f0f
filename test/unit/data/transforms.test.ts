import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { streamKey } from '../../../src/common/random';
import { patchify } from '../../../src/data/patchify';
import { crop, resize } from '../../../src/data/resize';
import { augment, fit, randomBox } from '../../../src/data/transforms';
import { pattern } from './pictures';

const image = (width: number, height: number) => ({ data: pattern(width, height), width, height });

describe('fit', () => {
  it('stretches without keeping the aspect ratio', () => {
    assert.deepEqual(fit(image(30, 20), { imageSize: 16, mode: 'stretch' }), resize(image(30, 20), { width: 16, height: 16 }));
  });

  // torchvision: Resize(256) takes int(256 * long / short), CenterCrop(224) int(round((side - 224) / 2)).
  const cases: [number, number, number, number, number, number][] = [
    // width, height -> resized width, height, left, top
    [160, 213, 256, 340, 16, 58],
    [213, 160, 340, 256, 58, 16],
    [101, 101, 256, 256, 16, 16],
    [100, 133, 256, 340, 16, 58],
    [160, 227, 256, 363, 16, 70], // (363 - 224) / 2 = 69.5, rounds to the even 70
    [160, 223, 256, 356, 16, 66],
    [160, 232, 256, 371, 16, 74], // 73.5 -> 74
    [160, 228, 256, 364, 16, 70],
    [160, 229, 256, 366, 16, 71],
  ];
  for (const [width, height, resizedWidth, resizedHeight, left, top] of cases) {
    it(`crops ${width}x${height} as torchvision does`, () => {
      const resized = resize(image(width, height), { width: resizedWidth, height: resizedHeight });
      assert.deepEqual(fit(image(width, height), { imageSize: 224, mode: 'crop' }), crop(resized, { left, top, width: 224, height: 224 }));
    });
  }

  it('takes one pixel', () => {
    for (const mode of ['stretch', 'crop'] as const) {
      const { data, width, height } = fit({ data: Uint8Array.of(9, 8, 7), width: 1, height: 1 }, { imageSize: 32, mode });
      assert.deepEqual([width, height, data.length, ...data.slice(-3)], [32, 32, 32 * 32 * 3, 9, 8, 7]);
    }
  });
});

describe('augment', () => {
  const options = { imageSize: 24, mode: 'stretch', seed: 3, epoch: 1, sample: 5 } as const;

  it('is a function of seed, epoch and sample', () => {
    const all = { ...options, augmentation: ['random-resized-crop', 'horizontal-flip', 'vertical-flip'] as const };
    const once = augment(image(40, 30), all).data;
    assert.deepEqual(augment(image(40, 30), all).data, once);
    for (const change of [{ seed: 4 }, { epoch: 2 }, { sample: 6 }]) assert.notDeepEqual(augment(image(40, 30), { ...all, ...change }).data, once);
  });

  it('flips half of the images, rows or columns', () => {
    const source = image(24, 24);
    const mirrored = (dx: boolean) => Uint8Array.from(source.data, (_, i) => {
      const c = i % 3, x = Math.floor(i / 3) % 24, y = Math.floor(i / 72);
      return source.data[((dx ? y : 23 - y) * 24 + (dx ? 23 - x : x)) * 3 + c]!;
    });
    for (const [augmentation, flipped] of [['horizontal-flip', mirrored(true)], ['vertical-flip', mirrored(false)]] as const) {
      let count = 0;
      for (let sample = 0; sample < 200; sample++) {
        const { data } = augment(source, { ...options, sample, augmentation: [augmentation] });
        const isFlipped = Buffer.compare(data, flipped) === 0;
        assert.ok(isFlipped || Buffer.compare(data, source.data) === 0);
        if (isFlipped) count++;
      }
      assert.ok(count > 70 && count < 130, `${augmentation}: ${count} of 200`);
    }
  });

  it('crops boxes of the area and aspect ratio that torchvision allows, all over the image', () => {
    const size = { width: 400, height: 300 }, areas: number[] = [], lefts: number[] = [];
    for (let i = 0; i < 2000; i++) {
      const box = randomBox(size, streamKey(1, 'test', i));
      assert.ok(box.left >= 0 && box.top >= 0 && box.left + box.width <= 400 && box.top + box.height <= 300);
      const ratio = box.width / box.height;
      assert.ok(ratio > 0.74 && ratio < 1.36, `ratio ${ratio}`);
      areas.push(box.width * box.height / 120000);
      lefts.push(box.left);
    }
    assert.ok(Math.min(...areas) > 0.075 && Math.min(...areas) < 0.1 && Math.max(...areas) > 0.9);
    const mean = areas.reduce((a, b) => a + b) / areas.length;
    // The same rule drawn 50,000 times with NumPy has a mean of 0.433: large upright boxes do not fit.
    assert.ok(Math.abs(mean - 0.433) < 0.02, `mean area ${mean}`);
    assert.ok(Math.min(...lefts) === 0 && Math.max(...lefts) > 200);
  });

  it('falls back to the largest allowed centre of a very long image', () => {
    assert.deepEqual(randomBox({ width: 1000, height: 10 }, streamKey(1, 'long')), { left: 493, top: 0, width: 13, height: 10 });
    assert.deepEqual(randomBox({ width: 10, height: 1000 }, streamKey(1, 'long')), { left: 0, top: 493, width: 10, height: 13 });
  });
});

describe('patchify', () => {
  it('puts token-major rows and channel-major columns', () => {
    const batch = 2, imageSize = 4, patch = 2;
    const pixels = Uint8Array.from({ length: batch * 48 }, (_, i) => i);
    const out = patchify(pixels, { imageSize, patch, batch, normalization: { mean: [0, 0, 0], std: [1 / 255, 1 / 255, 1 / 255] } });
    assert.equal(out.length, 4 * batch * 12);
    for (let token = 0; token < 4; token++) for (let b = 0; b < batch; b++) for (let c = 0; c < 3; c++) for (let y = 0; y < 2; y++) for (let x = 0; x < 2; x++) {
      const row = Math.floor(token / 2) * 2 + y, column = (token % 2) * 2 + x;
      const expected = ((b * 4 + row) * 4 + column) * 3 + c;
      const found = out[(token * batch + b) * 12 + (c * 2 + y) * 2 + x]!;
      assert.ok(Math.abs(found - expected) < 1e-4, `${found} ${expected}`);
    }
  });

  it('normalises each channel', () => {
    const out = patchify(Uint8Array.of(0, 255, 51), { imageSize: 1, patch: 1, batch: 1, normalization: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } });
    const expected = [-2.1179039478, 2.4285714626, -0.9155555367]; // torchvision's ToTensor and Normalize
    expected.forEach((value, i) => assert.ok(Math.abs(out[i]! - value) < 1e-6, `${out[i]} ${value}`));
  });

  it('refuses an image that patches do not fill', () => {
    assert.throws(() => patchify(new Uint8Array(75), { imageSize: 5, patch: 2, batch: 1, normalization: { mean: [0, 0, 0], std: [1, 1, 1] } }), RangeError);
  });
});
