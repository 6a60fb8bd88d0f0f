import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { initialProgress, readCheckpoint, readCheckpointHeader, writeCheckpoint } from '../../../src/train/checkpoint';

describe('checkpoint', () => {
  it('gives back every bit of state, best adapter and progress', async t => {
    const file = temporaryFile(t);
    const state = { 'head.bias': { shape: [3], data: Float32Array.of(0.1, -0, 1e-40) }, 'adam.m/head.bias': { shape: [3], data: Float32Array.of(1, 2, 3) } };
    const best = { 'head.bias': { shape: [3], data: Float32Array.of(4, 5, 6) } };
    const progress = { ...initialProgress(), step: 7, epoch: { lossSum: 0.1 + 0.2, images: 12, seconds: 1 }, seconds: 1 / 3 };
    await writeCheckpoint(file, 'abc', { state, best, progress, engine: { id: 'wasm', threads: 1 } });
    const read = (await readCheckpoint(file, 'abc'))!;
    assert.deepEqual(read, { state, best, progress, engine: { id: 'wasm', threads: 1 } });
    assert.ok(Object.is(read.state['head.bias']!.data[1], -0));
    assert.deepEqual(await readCheckpointHeader(file), { progress, engine: { id: 'wasm', threads: 1 } });
  });

  it('is null where there is none, and refuses that of another trial, a damaged one and another file', async t => {
    const file = temporaryFile(t);
    assert.equal(await readCheckpoint(file, 'abc'), null);
    const content = { state: { a: { shape: [1], data: Float32Array.of(1) } }, best: null, progress: initialProgress(), engine: { id: 'cpu', threads: 1 } } as const;
    await writeCheckpoint(file, 'abc', content);
    await assert.rejects(readCheckpoint(file, 'xyz'), /this checkpoint is of trial abc, not of xyz/);
    fs.truncateSync(file, fs.statSync(file).size - 1);
    await assert.rejects(readCheckpoint(file, 'abc'), { name: 'UserError' });
  });

  it('leaves the old checkpoint in place when the new one cannot be written', async t => {
    const file = temporaryFile(t);
    const content = (value: number) => ({ state: { a: { shape: [1], data: Float32Array.of(value) } }, best: null, progress: initialProgress(), engine: { id: 'cpu', threads: 1 } } as const);
    await writeCheckpoint(file, 'abc', content(1));
    const torn = { ...content(2), state: { a: { shape: [2], data: Float32Array.of(2) } } }; // fails in the middle of writing
    await assert.rejects(writeCheckpoint(file, 'abc', torn));
    assert.equal((await readCheckpoint(file, 'abc'))!.state['a']!.data[0], 1);
    assert.deepEqual(fs.readdirSync(path.dirname(file)), [path.basename(file)]);
  });
});

function temporaryFile(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-checkpoint-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return path.join(folder, 'checkpoint.safetensors');
}
