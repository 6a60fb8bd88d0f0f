import assert from 'node:assert/strict';
import { it } from 'node:test';
import { trialId } from '../../../src/common/trial-id';
import { fakeTrial } from '../store/fixtures';

it('the precision decides a trial\'s numbers, and f32 leaves the ids of trials that had no such setting', () => {
  const trial = fakeTrial();
  const { precision: _, ...before } = trial.recipe;
  const idOf = (recipe: object) => trialId({ ...trial, recipe: recipe as typeof trial.recipe });
  assert.equal(idOf(trial.recipe), idOf(before));
  assert.equal(new Set([idOf(trial.recipe), ...(['tf32', 'bf16', 'f16'] as const).map(precision => idOf({ ...trial.recipe, precision }))]).size, 4);
});
