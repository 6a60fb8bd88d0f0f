import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { learningRateAt, type ScheduleSettings } from '../../../src/train/schedule';

const study: ScheduleSettings = { schedule: 'cosine-study', learningRate: 1e-3, warmupEpochs: 10, warmupLearningRate: 1e-6, minimumLearningRate: 1e-5 };

describe('learningRateAt', () => {
  /** study.md 2.1: timm's values lr(t); the study's code uses lr(t) in epoch t + 1. */
  for (const [settings, epochs, table] of [
    [study, 100, { 0: 1e-6, 1: 1.009e-4, 9: 9.001e-4, 10: 9.75772976e-4, 50: 5.05e-4, 98: 1.09767694e-5 }],
    [{ ...study, learningRate: 1e-2 }, 100, { 10: 9.7555273e-3, 50: 5.005e-3 }],
    [{ ...study, learningRate: 3e-5, minimumLearningRate: 1e-6, warmupLearningRate: 1e-7 }, 100, { 10: 2.92903195e-5 }],
    [{ ...study, warmupEpochs: 4 }, 40, { 4: 9.75772976e-4, 20: 5.05e-4 }],
  ] as const) {
    it(`has the study's check values at learning rate ${settings.learningRate}, ${epochs} epochs`, () => {
      for (const [t, expected] of Object.entries(table)) {
        const length = { stepsPerEpoch: 12, epochs };
        close(learningRateAt((Number(t) + 1) * 12 + 5, settings, length), expected);
        close(learningRateAt(Number(t) * 12, { ...settings, schedule: 'cosine' }, length), expected);
      }
    });
  }

  it('is, step by step, what the study\'s trainer used', t => {
    const file = path.resolve(process.cwd(), '../shared/reference/golden/lr.json');
    if (!fs.existsSync(file)) return t.skip('../shared is not here');
    const { runs } = JSON.parse(fs.readFileSync(file, 'utf8')) as { runs: Record<string, number>[] & { lr_per_epoch: number[] }[] };
    for (const run of runs) {
      const settings = { ...study, learningRate: run['lr']!, warmupEpochs: run['warmup_epochs']!, warmupLearningRate: run['warmup_lr_init']!, minimumLearningRate: run['lr_min']! };
      const length = { stepsPerEpoch: run['steps_per_epoch']!, epochs: run['epochs']! };
      run.lr_per_epoch.forEach((expected, epoch) => {
        for (const step of [0, length.stepsPerEpoch - 1]) close(learningRateAt(epoch * length.stepsPerEpoch + step, settings, length), expected);
      });
    }
  });

  it('moves within an epoch with the plain cosine, and not at all with constant', () => {
    const length = { stepsPerEpoch: 10, epochs: 20 };
    const rates = [100, 101, 102].map(step => learningRateAt(step, { ...study, schedule: 'cosine' }, length));
    assert.ok(rates[0]! > rates[1]! && rates[1]! > rates[2]!);
    assert.equal(learningRateAt(0, { ...study, schedule: 'constant' }, length), 1e-3);
  });
});

function close(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= 1e-8 * Math.max(1e-2, expected) + 1e-9 * expected, `${actual} instead of ${expected}`);
}
