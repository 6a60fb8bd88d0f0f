import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { Sample, Trial } from '../../../src/common/trial';

/** A folder that is removed after the test. */
export function temporaryFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-test-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

export const samples: Sample[] = [
  { id: 'a', path: 'x/a.png', label: 0, split: 'train' },
  { id: 'b', path: 'x/b.png', label: 0, split: 'test' },
  { id: 'c', path: 'y/c.png', label: 1, split: 'test' },
];

export function fakeTrial(overrides: Partial<Trial> = {}): Trial {
  return {
    id: 'abc123abc123', study: 'study',
    backbone: {
      name: 'tiny', file: '/weights/tiny.safetensors', fingerprint: 'f00', warnings: [],
      architecture: {
        imageSize: 32, patch: 16, width: 8, depth: 1, heads: 1, hidden: 32, layerNormEpsilon: 1e-6, activation: 'gelu',
        preNorm: false, patchBias: true, layerScale: false, qkvBias: true,
      },
    },
    data: { name: 'shapes', root: '/data', fingerprint: 'd00', classes: ['x', 'y'], extraRoots: {}, onBadImage: 'stop' },
    method: { id: 'lora', name: 'lora', version: 1, options: { rank: 8 } },
    recipe: {
      epochs: 2, batchSize: 4, optimizer: 'adamw', learningRate: 1e-3, weightDecay: 0, schedule: 'cosine', warmupEpochs: 0,
      warmupLearningRate: 0, minimumLearningRate: 0, dropPath: 0, dropout: true, labelSmoothing: 0, classWeights: 'none',
      augmentation: [], resize: 'stretch', shuffle: true, dropLast: false, trainOn: 'train',
      selection: { metric: 'top1', epoch: 'last' }, seed: 1, precision: 'f32', normalization: { mean: [0, 0, 0], std: [1, 1, 1] },
    },
    recipeVersion: 1,
    evaluation: { everyEpochs: 1, splits: ['validation', 'test'], extra: [] },
    assignment: {}, engine: 'auto', parameters: { trainable: 10, head: 2, total: 112, backbone: 100 },
    ...overrides,
  };
}
