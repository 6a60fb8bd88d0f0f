import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, it } from 'node:test';
import sharp from 'sharp';
import { UserError } from '../../../src/common/errors';
import { decode, decodeFile } from '../../../src/data/decode';
import bitmaps from '../../fixtures/data/bitmaps.json';
import cmyk from '../../fixtures/data/cmyk.json';
import { pattern, temporaryFolder } from './pictures';

const raw = { raw: { width: 8, height: 6, channels: 3 as const } };
const rgb = pattern(8, 6);
const grey = (data: Uint8Array) => Uint8Array.from({ length: data.length * 3 }, (_, i) => data[Math.floor(i / 3)]!);

describe('decode', () => {
  it('reads RGB PNG exactly', async () => {
    const image = await decode(await sharp(rgb, raw).png().toBuffer(), 'a.png');
    assert.deepEqual([image.width, image.height], [8, 6]);
    assert.deepEqual(image.data, rgb);
  });

  it('drops alpha without blending it', async () => {
    const rgba = Uint8Array.from({ length: 8 * 6 * 4 }, (_, i) => i % 4 === 3 ? i % 200 : rgb[Math.floor(i / 4) * 3 + i % 4]!);
    const file = await sharp(rgba, { raw: { width: 8, height: 6, channels: 4 } }).png().toBuffer();
    assert.deepEqual((await decode(file, 'a.png')).data, rgb);
  });

  it('reads grey, with and without alpha', async () => {
    const values = rgb.slice(0, 48);
    const file = await sharp(values, { raw: { width: 8, height: 6, channels: 1 } }).toColourspace('b-w').png().toBuffer();
    assert.equal((await sharp(file).metadata()).channels, 1);
    assert.deepEqual((await decode(file, 'a.png')).data, grey(values));
    const withAlpha = await sharp(Uint8Array.from({ length: 96 }, (_, i) => i % 2 ? 77 : values[i >> 1]!), { raw: { width: 8, height: 6, channels: 2 } }).toColourspace('b-w').png().toBuffer();
    assert.deepEqual((await decode(withAlpha, 'a.png')).data, grey(values));
  });

  it('reads 16 bits by their high byte, grey and colour', async () => {
    const deep = Uint16Array.from({ length: 144 }, (_, i) => i * 449);
    const colour = await sharp(deep, raw).toColourspace('rgb16').png().toBuffer();
    assert.equal((await sharp(colour).metadata()).depth, 'ushort');
    assert.deepEqual((await decode(colour, 'a.png')).data, Uint8Array.from(deep, value => value >> 8));
    const single = await sharp(deep.slice(0, 48), { raw: { width: 8, height: 6, channels: 1 } }).toColourspace('grey16').png().toBuffer();
    assert.equal((await sharp(single).metadata()).space, 'grey16');
    assert.deepEqual((await decode(single, 'a.png')).data, grey(Uint8Array.from(deep.slice(0, 48), value => value >> 8)));
  });

  it('reads palettes', async () => {
    const few = Uint8Array.from({ length: 144 }, (_, i) => Math.floor(i / 3) % 2 ? 200 : 10);
    const file = await sharp(few, raw).png({ palette: true }).toBuffer();
    assert.equal(file[25], 3, 'the PNG header says palette');
    assert.deepEqual((await decode(file, 'a.png')).data, few);
  });

  it('reads CMYK as Pillow does: each ink darkens on its own', async () => {
    const { data } = await decodeFile(path.resolve('test/fixtures/data/cmyk.jpg'));
    assert.deepEqual([...data], cmyk.pixels);
  });

  for (const [name, base64] of Object.entries(bitmaps.files)) {
    it(`reads ${name} as Pillow does`, async () => {
      const { data, width, height } = await decode(Buffer.from(base64, 'base64'), name);
      assert.deepEqual([width, height], bitmaps.size);
      assert.deepEqual([...data], (bitmaps.pixels as Record<string, number[]>)[name]);
    });
  }

  it('does not turn by EXIF orientation, as torchvision does not', async () => {
    const file = await sharp(rgb, raw).withMetadata({ orientation: 6 }).jpeg().toBuffer();
    assert.equal((await sharp(file).metadata()).orientation, 6);
    const image = await decode(file, 'a.jpg');
    assert.deepEqual([image.width, image.height], [8, 6]);
  });

  it('reads one pixel, and a path that is not ASCII', async t => {
    const file = path.join(temporaryFolder(t), 'größe 测试 🙂.png');
    await sharp(Uint8Array.of(1, 2, 3), { raw: { width: 1, height: 1, channels: 3 } }).png().toFile(file);
    assert.deepEqual(await decodeFile(file), { width: 1, height: 1, data: Uint8Array.of(1, 2, 3) });
  });
});

describe('decode refuses', () => {
  const jpeg = sharp(pattern(64, 48), { raw: { width: 64, height: 48, channels: 3 } }).jpeg().toBuffer();
  const png = sharp(pattern(64, 48), { raw: { width: 64, height: 48, channels: 3 } }).png().toBuffer();
  const webp = sharp(pattern(64, 48), { raw: { width: 64, height: 48, channels: 3 } }).webp().toBuffer();
  const half = (bytes: Buffer) => bytes.subarray(0, bytes.length / 2);
  const cases: [string, () => Promise<Buffer>, RegExp][] = [
    ['an empty file', async () => Buffer.alloc(0), /is empty/],
    ['text named .jpg', async () => Buffer.from('hello '.repeat(99)), /no known image format/],
    ['half a JPEG', async () => half(await jpeg), /premature end/],
    ['a JPEG without its last two bytes', async () => (await jpeg).subarray(0, -2), /premature end/],
    ['half a PNG', async () => half(await png), /read error/],
    ['half a WebP', async () => half(await webp), /webp/i],
    ['a drawing', async () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>'), /svg/],
  ];
  for (const [name, bytes, reason] of cases) {
    it(name, async () => {
      await assert.rejects(decode(await bytes(), 'folder/a.jpg'), error => error instanceof UserError && error.where === 'folder/a.jpg' && reason.test(error.what) && /onBadImage/.test(error.remedy!));
    });
  }

  it('a file that is not there', async () => {
    await assert.rejects(decodeFile('nowhere/a.jpg'), error => error instanceof UserError && /ENOENT/.test(error.what));
  });

  for (const [name, base64] of Object.entries(bitmaps.files)) {
    it(`${name} cut short`, async () => {
      for (const share of [0.2, 0.5, 0.99]) {
        const bytes = Buffer.from(base64, 'base64');
        await assert.rejects(decode(bytes.subarray(0, Math.floor(bytes.length * share)), name), UserError);
      }
    });
  }
});
