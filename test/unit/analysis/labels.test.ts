import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { labelTrials } from '../../../src/analysis/labels';
import type { Trial } from '../../../src/common/trial';
import { fakeTrial } from '../store/fixtures';

const labelsOf = (trials: Partial<Trial>[]) => {
  const all = trials.map((trial, i) => fakeTrial({ id: String(i), ...trial }));
  return [...labelTrials(all).values()];
};
const recipe = fakeTrial().recipe;

describe('labelTrials', () => {
  it('is the name of a method alone', () => assert.deepEqual(labelsOf([{}]), ['lora']));

  it('says what the search chose', () => {
    assert.deepEqual(labelsOf([{ assignment: { 'options.rank': 8, 'recipe.learningRate': 0.00003 } }]), ['lora rank=8 learningRate=3e-5']);
  });

  it('tells two of the same name apart by what differs', () => {
    const methods = [4, 8].map(rank => ({ method: { id: 'lora', name: 'lora', version: 1, options: { rank, alpha: 1 } } }));
    assert.deepEqual(labelsOf(methods), ['lora rank=4', 'lora rank=8']);
  });

  it('names seeds only where there are several', () => {
    const trials = [1, 2].flatMap(seed => [4, 8].map(rank => ({ assignment: { 'options.rank': rank }, recipe: { ...recipe, seed } })));
    assert.deepEqual(labelsOf(trials).sort(), ['lora rank=4 seed=1', 'lora rank=4 seed=2', 'lora rank=8 seed=1', 'lora rank=8 seed=2']);
  });

  it('lets trials on different data sets have the same name', () => {
    const { data } = fakeTrial();
    assert.deepEqual(labelsOf([{}, { data: { ...data, name: 'other' } }]), ['lora', 'lora']);
  });
});
