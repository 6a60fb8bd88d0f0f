import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import sharp from 'sharp';
import { drawTask } from '../../../src/data/drawn/draw-task';
import { writeTask } from '../../../src/data/drawn/write-task';

describe('writeTask', () => {
  let folder: string;
  before(async () => { folder = await fs.mkdtemp(path.join(os.tmpdir(), 'peft-lab-')); });
  after(() => fs.rm(folder, { recursive: true, force: true }));

  it('writes an image folder whose pictures are those drawn, no picture in two splits', async () => {
    await writeTask(folder, { task: 'orientation', counts: { train: 17, val: 8, test: 9 }, seed: 3, size: 32 });
    assert.deepEqual((await fs.readdir(folder)).sort(), ['test', 'train', 'val']);
    const classes = (await fs.readdir(path.join(folder, 'train'))).sort();
    assert.deepEqual([classes[0], classes[7]], ['1-east', '8-north-east']);
    const counts = await Promise.all(['train', 'val', 'test'].map(split => countFiles(path.join(folder, split))));
    assert.deepEqual(counts, [17, 8, 9]);
    const drawn = [...drawTask('orientation', { count: 34, seed: 3, size: 32 })];
    const read = await sharp(path.join(folder, 'val/2-south-east/00000.png')).raw().toBuffer();
    const match = drawn.findIndex(({ pixels }) => Buffer.compare(pixels, read) === 0);
    assert.equal(match, 17, 'the first of val follows the last of train');
  });

  async function countFiles(root: string): Promise<number> {
    return (await fs.readdir(root, { recursive: true })).filter(name => name.endsWith('.png')).length;
  }
});
