import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { startHeartbeat } from '../../../src/worker/heartbeat';
import { temporaryFolder } from '../store/fixtures';

describe('the heartbeat', () => {
  it('beats while the main thread is busy, falls silent when that hangs, and goes on after it', async t => {
    const file = path.join(temporaryFolder(t), 'heartbeat');
    const heart = startHeartbeat(file, { interval: 20, patience: 600 });
    const lastBeat = () => fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    while (!lastBeat()) await turn();
    const busy = Date.now();
    block(300);
    assert.ok(lastBeat() > busy + 20, 'a step is no hang');
    await turn();
    block(2000);
    assert.ok(Date.now() - lastBeat() > 500, `the last beat is ${Date.now() - lastBeat()} ms old`);
    const hung = Date.now();
    while (lastBeat() < hung) await turn();
    await heart.stop();
  });
});

function turn(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 30));
}

function block(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
