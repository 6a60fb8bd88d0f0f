import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { engines } from '../../../src/engine/engines';
import type { Program } from '../../../src/engine/program';
import { tf } from '../../../src/engine/tfjs';
import { adamw, initialMoments, optimizerFeeds, optimizerScalars } from '../../../src/train/optimizer';

const shape = [3] as const;
const gradientsOfSteps = [[1, -2, 1e-3], [0.5, 0, -1e-3], [-4, 1e-6, 1e-3]];

describe('adamw', () => {
  it('is PyTorch\'s AdamW, worked in double precision', async () => {
    const start = [0.5, -1, 2], learningRate = 0.01, weightDecay = 0.1;
    const program: Program = {
      feeds: [{ name: 'gradient', shape, dtype: 'float32' }, ...optimizerFeeds],
      run: tensors => ({ fetches: {}, state: adamw({ p: tf.mul(tensors['gradient']!, 1) }, tensors) }),
    };
    const session = await engines.cpu.open({
      programs: { update: program }, constants: {}, threads: 1,
      state: { p: { shape, data: Float32Array.from(start) }, ...initialMoments([{ name: 'p', shape }]) },
    });
    for (const [step, gradient] of gradientsOfSteps.entries()) {
      await session.call('update', { gradient: { shape, data: Float32Array.from(gradient) }, ...optimizerScalars({ step, learningRate, weightDecay }) });
    }
    const { p } = await session.readState();
    await session.dispose();
    expected(start, { learningRate, weightDecay }).forEach((value, i) => assert.ok(Math.abs(p!.data[i]! - value) < 2e-7, `${p!.data[i]} instead of ${value}`));
  });

  it('moves a parameter by about the learning rate at its first step, whatever the gradient\'s size', () => {
    const { 'adam.step-size': size, 'adam.second-scale': scale } = optimizerScalars({ step: 0, learningRate: 1e-3, weightDecay: 0 });
    assert.ok(Math.abs(size!.data[0]! * 0.1 - 1e-3) < 1e-9); // m = 0.1 g
    assert.ok(Math.abs(scale!.data[0]! * Math.sqrt(1e-3) - 1) < 1e-6); // v = 0.001 g^2
  });
});

/** torch.optim.AdamW, single tensor, as its documentation writes it. */
function expected(start: readonly number[], { learningRate, weightDecay }: { learningRate: number; weightDecay: number }): number[] {
  return start.map((value, i) => {
    let p = value, m = 0, v = 0;
    for (const [step, gradients] of gradientsOfSteps.entries()) {
      const g = gradients[i]!;
      p -= learningRate * weightDecay * p;
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      const mHat = m / (1 - 0.9 ** (step + 1)), vHat = v / (1 - 0.999 ** (step + 1));
      p -= learningRate * mHat / (Math.sqrt(vHat) + 1e-8);
    }
    return p;
  });
}
