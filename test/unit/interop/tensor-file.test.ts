import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { UserError } from '../../../src/common/errors';
import { convolution, flat, ofRank, permute, transpose, transposed } from '../../../src/interop/arrays';
import { openTensorFile } from '../../../src/interop/tensor-file';
import { npyOf, npzOf, zipOf } from '../../fixtures/zip';

let folder: string;
before(async () => { folder = await fs.mkdtemp(path.join(os.tmpdir(), 'peft-lab-npz-')); });
after(() => fs.rm(folder, { recursive: true, force: true }));

async function write(name: string, content: Buffer): Promise<string> {
  const file = path.join(folder, name);
  await fs.writeFile(file, content);
  return file;
}

const a = { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) };

describe('npz', () => {
  it('gives arrays by name, stored or deflated', async () => {
    for (const isCompressed of [false, true]) {
      const opened = await openTensorFile(await write('a.npz', npzOf({ 'block_0/kernel': a, cls: { shape: [1], data: Float32Array.of(7) } }, { isCompressed })));
      assert.deepEqual([...opened.tensors].map(([name, { shape }]) => [name, shape]), [['block_0/kernel', [2, 3]], ['cls', [1]]]);
      assert.deepEqual(await opened.read('block_0/kernel'), a.data);
      assert.deepEqual(await opened.read('cls'), Float32Array.of(7));
      await assert.rejects(opened.read('dog'), /no array 'dog'.*\n.*block_0\/kernel, cls/);
      await opened.close();
    }
  });

  it('reads what NumPy itself wrote: widths of 16, 32 and 64 bits, columns first', async () => {
    const opened = await openTensorFile(path.resolve(process.cwd(), 'test/fixtures/numpy.npz'));
    for (const name of ['half', 'single', 'double', 'columns']) assert.deepEqual(await opened.read(name), a.data, name);
    assert.deepEqual(await opened.read('bfloat'), a.data);
    await assert.rejects(opened.read('whole'), /these are <i8/);
    await opened.close();
  });

  it('refuses Python objects, truncated arrays and damaged archives', async () => {
    const objects = zipOf([{ name: 'x.npy', data: npyOf(a, { dtype: '|O' }) }]);
    await assert.rejects(openTensorFile(await write('objects.npz', objects)), /x\.npy.*pickle, which is never opened/);
    const short = zipOf([{ name: 'x.npy', data: npyOf(a).subarray(0, -4) }]);
    const opened = await openTensorFile(await write('short.npz', short));
    await assert.rejects(opened.read('x'), /truncated: 24 bytes/);
    await opened.close();
    await assert.rejects(openTensorFile(await write('noise.npz', zipOf([{ name: 'x.npy', data: Buffer.from('no array at all') }]))), /does not begin as an array/);
    await assert.rejects(openTensorFile(await write('cut.npz', npzOf({ a }).subarray(0, 60))), /zip archive cannot be read/);
    const flipped = npzOf({ a });
    flipped[flipped.indexOf(Buffer.from(a.data.buffer))]! ^= 1;
    await assert.rejects(openTensorFile(await write('flipped.npz', flipped)), /a\.npy.*checksum is wrong/);
  });
});

describe('files that are never opened', () => {
  const pickles: { title: string; name: string; content: () => Buffer; message: RegExp }[] = [
    { title: 'a name of PyTorch\'s', name: 'pytorch_model.bin', content: () => Buffer.from('anything'), message: /torch\.load\('pytorch_model\.bin'.*weights_only=True.*'pytorch_model\.safetensors'/ },
    { title: 'an old pickle under another name', name: 'x.safetensors', content: () => Buffer.from([0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46]), message: /PyTorch pickle/ },
    { title: 'a zipped pickle under another name', name: 'y.npz', content: () => zipOf([{ name: 'archive/data.pkl', data: Buffer.from('x') }]), message: /torch\.load\('y\.npz'/ },
    { title: 'TorchScript, as OpenAI publishes CLIP', name: 'z.safetensors', content: () => zipOf([{ name: 'ViT/data.pkl', data: Buffer.from('x') }, { name: 'ViT/constants.pkl', data: Buffer.from('x') }]),
      message: /torch\.jit\.load\('z\.safetensors'/ },
    { title: 'a zip of something else', name: 'w.npz', content: () => zipOf([{ name: 'readme.txt', data: Buffer.from('x') }]), message: /zip archive without arrays/ },
    { title: 'HDF5', name: 'v.h5', content: () => Buffer.from('\x89HDF\r\n\x1a\n....', 'latin1'), message: /HDF5/ },
  ];
  for (const { title, name, content, message } of pickles) {
    it(title, async () => {
      const error = await openTensorFile(await write(name, content())).then(() => assert.fail('was opened'), (e: unknown) => e);
      assert.ok(error instanceof UserError);
      assert.match(error.message, message);
    });
  }

  it('says of a missing file that it is missing', async () => {
    await assert.rejects(openTensorFile(path.join(folder, 'none.npz')), /no such file/);
  });
});

describe('layouts', () => {
  it('permute axes', () => {
    assert.deepEqual([...permute(a.data, [2, 3], [1, 0])], [1, 4, 2, 5, 3, 6]);
    const cube = Float32Array.from({ length: 24 }, (_, i) => i);
    const turned = permute(cube, [2, 3, 4], [2, 0, 1]); // [4, 2, 3]
    for (let i = 0; i < 2; i++) for (let j = 0; j < 3; j++) for (let k = 0; k < 4; k++) assert.equal(turned[k * 6 + i * 3 + j], cube[i * 12 + j * 4 + k]);
  });

  it('swap two axes in tiles as one by one', () => {
    const big = Float32Array.from({ length: 70 * 45 }, (_, i) => i);
    assert.deepEqual(transpose(big, [70, 45]), permute(big, [70, 45], [1, 0]));
  });

  it('leave shapes of another rank as they are', () => {
    assert.deepEqual([transposed().shape([5]), transposed({ rank: 3 }).shape([4, 2, 3]), transposed({ rank: 3, outer: 2 }).shape([2, 3, 4])], [[5], [6, 4], [4, 6]]);
    assert.deepEqual([flat.shape([2, 3]), flat.shape([2]), convolution.shape([8, 8, 3, 16]), ofRank(3).shape([7])], [[6], [2], [16, 3, 8, 8], [1, 1, 7]]);
  });
});
