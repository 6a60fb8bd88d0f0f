import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { UserError } from '../../../src/common/errors';
import { openSafetensors, writeSafetensors } from '../../../src/interop/safetensors';

let folder: string;
before(async () => { folder = await fs.mkdtemp(path.join(os.tmpdir(), 'peft-lab-')); });
after(() => fs.rm(folder, { recursive: true, force: true }));

const f32 = (values: number[]) => Float32Array.from(values);

describe('safetensors, written and read', () => {
  it('gives back values, shapes and metadata', async () => {
    const file = path.join(folder, 'a.safetensors');
    await writeSafetensors(file, {
      b: { shape: [2, 2], data: f32([1, -2, 3.5, 1e-30]) },
      a: { shape: [3], data: f32([1, 2, -65504]), dtype: 'F16' },
      labels: { shape: [2], data: Int32Array.from([7, -1]) },
      mask: { shape: [3], data: Uint8Array.from([1, 0, 1]), dtype: 'BOOL' },
      empty: { shape: [0, 4], data: f32([]) },
      '7': { shape: [], data: f32([7]), dtype: 'BF16' },
    }, { who: 'a test' });
    const opened = await openSafetensors(file);
    assert.deepEqual(opened.metadata, { who: 'a test' });
    assert.deepEqual([...opened.tensors.keys()], ['b', 'empty', 'labels', '7', 'a', 'mask'], 'wide elements first, then by name');
    assert.deepEqual(await opened.read('b'), f32([1, -2, 3.5, 1e-30]));
    assert.deepEqual(await opened.read('a'), f32([1, 2, -65504]));
    assert.deepEqual(await opened.read('7'), f32([7]));
    assert.deepEqual(await opened.read('empty'), f32([]));
    assert.deepEqual(await opened.readRaw('mask'), Uint8Array.from([1, 0, 1]));
    assert.deepEqual(new Int32Array((await opened.readRaw('labels')).buffer), Int32Array.from([7, -1]));
    await assert.rejects(opened.read('labels'), /labels.*I32|I32/);
    await assert.rejects(opened.read('nope'), /no tensor 'nope'/);
    await opened.close();
  });

  it('reads 64 bits as 32', async () => {
    const file = path.join(folder, 'double.safetensors');
    const header = Buffer.from(JSON.stringify({ x: { dtype: 'F64', shape: [2], data_offsets: [0, 16] } }).padEnd(64));
    await fs.writeFile(file, Buffer.concat([Buffer.from([64, 0, 0, 0, 0, 0, 0, 0]), header, Buffer.from(Float64Array.of(0.1, -2).buffer)]));
    const opened = await openSafetensors(file);
    assert.deepEqual(await opened.read('x'), f32([0.1, -2]));
    await opened.close();
  });

  it('writes equal bytes for equal content, whatever the order, and leaves no temporary file', async () => {
    const [x, y] = [path.join(folder, 'x'), path.join(folder, 'y')];
    await writeSafetensors(x, { p: { shape: [1], data: f32([1]) }, q: { shape: [1], data: f32([2]) } }, { a: '1', b: '2' });
    await writeSafetensors(y, { q: { shape: [1], data: f32([2]) }, p: { shape: [1], data: f32([1]) } }, { b: '2', a: '1' });
    assert.deepEqual(await fs.readFile(x), await fs.readFile(y));
    assert.deepEqual((await fs.readdir(folder)).filter(name => name.endsWith('.tmp')), []);
  });

  it('refuses to write a tensor whose shape does not hold its data, and keeps the old file', async () => {
    const file = path.join(folder, 'kept');
    await writeSafetensors(file, { p: { shape: [1], data: f32([1]) } });
    const before = await fs.readFile(file);
    await assert.rejects(writeSafetensors(file, { p: { shape: [2], data: f32([1]) } }), /4 bytes for F32 \[2\]/);
    assert.deepEqual(await fs.readFile(file), before);
  });
});

describe('malformed safetensors files', () => {
  const tensor = (start: number, end: number, more = {}) => ({ dtype: 'F32', shape: [1], data_offsets: [start, end], ...more });
  const cases: { name: string; bytes: () => Buffer; reason: RegExp }[] = [
    { name: 'empty', bytes: () => Buffer.alloc(0), reason: /truncated: 0 bytes/ },
    { name: 'cut within the header', bytes: () => whole({ a: tensor(0, 4) }, 4).subarray(0, 30), reason: /truncated: the header claims/ },
    { name: 'cut within the data', bytes: () => whole({ a: tensor(0, 4) }, 2), reason: /tensor 'a'.*2 bytes beyond the end/ },
    { name: 'header over 100 MB', bytes: () => withLength('{}', 200_000_000n), reason: /200000000 bytes; more than 100 MB/ },
    { name: 'header length 2^64 - 1', bytes: () => withLength('{}', 2n ** 64n - 1n), reason: /more than 100 MB/ },
    { name: 'header not JSON', bytes: () => raw('{"a": ', 0), reason: /not JSON/ },
    { name: 'header with a trailing comma', bytes: () => raw('{"__metadata__": {"a": "b"},}', 0), reason: /not JSON/ },
    { name: 'header not UTF-8', bytes: () => Buffer.concat([lengthOf(2n), Buffer.from([0xff, 0xfe])]), reason: /not UTF-8/ },
    { name: 'header an array', bytes: () => raw('[]', 0), reason: /not a JSON object/ },
    { name: 'duplicate tensor', bytes: () => raw(`{"a": ${JSON.stringify(tensor(0, 4))}, "a": ${JSON.stringify(tensor(4, 8))}}`, 8), reason: /key 'a' twice/ },
    { name: 'duplicate key in a tensor', bytes: () => raw('{"a": {"dtype": "F32", "shape": [1], "shape": [1], "data_offsets": [0, 4]}}', 4), reason: /key 'a\.shape' twice/ },
    { name: 'duplicate key by escape', bytes: () => raw(`{"a": ${JSON.stringify(tensor(0, 4))}, "\\u0061": ${JSON.stringify(tensor(4, 8))}}`, 8), reason: /key 'a' twice/ },
    { name: 'overlap', bytes: () => whole({ a: tensor(0, 4), b: tensor(2, 6) }, 6), reason: /tensor 'b'.*overlap those of 'a'/ },
    { name: 'the same range twice', bytes: () => whole({ a: tensor(0, 4), b: tensor(0, 4) }, 4), reason: /overlap/ },
    { name: 'hole', bytes: () => whole({ a: tensor(0, 4), b: tensor(8, 12) }, 12), reason: /tensor 'b'.*hole of 4 bytes/ },
    { name: 'bytes at the end', bytes: () => whole({ a: tensor(0, 4) }, 7), reason: /3 bytes at the end/ },
    { name: 'out of range', bytes: () => whole({ a: tensor(100, 104) }, 4), reason: /tensor 'a'.*beyond the end/ },
    { name: 'range backwards', bytes: () => whole({ a: tensor(4, 0) }, 4), reason: /end before they start/ },
    { name: 'negative offset', bytes: () => whole({ a: tensor(-4, 0) }, 4), reason: /not two whole numbers/ },
    { name: 'three offsets', bytes: () => whole({ a: tensor(0, 4, { data_offsets: [0, 2, 4] }) }, 4), reason: /not two whole numbers/ },
    { name: 'size and shape at odds', bytes: () => whole({ a: tensor(0, 4, { shape: [2] }) }, 4), reason: /hold 4 bytes, where F32 \[2\] takes 8/ },
    { name: 'size and dtype at odds', bytes: () => whole({ a: tensor(0, 4, { dtype: 'F16' }) }, 4), reason: /hold 4 bytes, where F16 \[1\] takes 2/ },
    { name: 'shape that overflows', bytes: () => whole({ a: tensor(0, 4, { shape: [2 ** 40, 2 ** 40] }) }, 4), reason: /takes/ },
    { name: 'fractional shape', bytes: () => whole({ a: tensor(0, 4, { shape: [1.5] }) }, 4), reason: /not a list of whole numbers/ },
    { name: 'unknown dtype', bytes: () => whole({ a: tensor(0, 4, { dtype: 'F31' }) }, 4), reason: /tensor 'a'.*unknown dtype "F31"/ },
    { name: 'dtype named like an inherited property', bytes: () => whole({ a: tensor(0, 4, { dtype: 'constructor' }) }, 4), reason: /unknown dtype/ },
    { name: 'dtype missing', bytes: () => whole({ a: { shape: [1], data_offsets: [0, 4] } }, 4), reason: /unknown dtype/ },
    { name: 'entry not an object', bytes: () => whole({ a: 5 }, 0), reason: /entry is not an object/ },
    { name: 'metadata not of strings', bytes: () => whole({ __metadata__: { a: 1 } }, 0), reason: /__metadata__ is not an object of strings/ },
  ];
  for (const { name, bytes, reason } of cases) {
    it(name, async () => {
      const file = path.join(folder, 'bad.safetensors');
      await fs.writeFile(file, bytes());
      const error = await openSafetensors(file).then(() => assert.fail('was opened'), (e: unknown) => e);
      assert.ok(error instanceof UserError, String(error));
      assert.match(error.message, reason);
      assert.ok(error.where!.startsWith(file) && error.remedy);
    });
  }

  it('missing file and folder', async () => {
    await assert.rejects(openSafetensors(path.join(folder, 'none')), /there is no such file/);
    await assert.rejects(openSafetensors(folder), UserError);
  });
});

describe('real file', () => {
  const file = path.resolve(process.cwd(), '../shared/weights/deit_tiny_patch16_224.safetensors');
  it('reads DeiT-Tiny', async t => {
    if (!(await fs.stat(file).catch(() => null))) return t.skip('../shared is not here');
    const opened = await openSafetensors(file);
    assert.equal(opened.tensors.size, 152);
    assert.equal((await opened.read('cls_token')).length, 192);
    await opened.close();
  });
});

function whole(header: unknown, dataBytes: number): Buffer {
  return raw(JSON.stringify(header), dataBytes);
}
function raw(header: string, dataBytes: number): Buffer {
  return Buffer.concat([withLength(header, BigInt(Buffer.byteLength(header))), Buffer.alloc(dataBytes)]);
}
function withLength(header: string, length: bigint): Buffer {
  return Buffer.concat([lengthOf(length), Buffer.from(header)]);
}
function lengthOf(length: bigint): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(length);
  return out;
}
