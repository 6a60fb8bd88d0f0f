import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { askAll, searchAlgorithm, type Tried } from '../../../src/search/search';
import { searchSpace, type SearchSpace } from '../../../src/search/space';

const grid = searchAlgorithm('grid');
const random = searchAlgorithm('random');
const all = { seed: 0, trials: undefined };
const space: SearchSpace = [
  { key: 'options.rank', range: [1, 8] },
  { key: 'recipe.learningRate', range: [1e-3, 1e-2] },
];

describe('search space', () => {
  it('collects ranges by name, a method\'s own recipe before the study\'s', () => {
    const recipe = { learningRate: { search: [1, 2] }, weightDecay: { search: [0] }, epochs: 3 };
    const entry = { method: 'lora', options: { scale: 1, rank: { search: [4] } }, recipe: { learningRate: 5 } };
    assert.deepEqual(searchSpace({ recipe } as never, entry), [
      { key: 'options.rank', range: [4] }, { key: 'recipe.weightDecay', range: [0] },
    ]);
  });
});

describe('grid', () => {
  it('tries every combination in the order of ParameterGrid', () => {
    assert.deepEqual(askAll(grid, space, all).map(a => Object.values(a)), [[1, 1e-3], [1, 1e-2], [8, 1e-3], [8, 1e-2]]);
  });

  it('tries an empty space once', () => {
    assert.deepEqual(askAll(grid, [], all), [{}]);
  });

  it('stops at the number of trials', () => {
    assert.equal(askAll(grid, space, { seed: 0, trials: 3 }).length, 3);
  });

  it('takes steps of intervals, linear, logarithmic and whole, each value once', () => {
    const values = (range: SearchSpace[number]['range']) => askAll(grid, [{ key: 'x', range }], all).map(a => a['x']);
    assert.deepEqual(values({ min: 0, max: 1, scale: 'linear', integer: false, steps: 3 }), [0, 0.5, 1]);
    assert.deepEqual(values({ min: 1e-4, max: 1e-2, scale: 'log', integer: false, steps: 3 }), [1e-4, 1e-3, 1e-2]);
    assert.deepEqual(values({ min: 1, max: 64, scale: 'log', integer: true, steps: 4 }), [1, 4, 16, 64]);
    assert.deepEqual(values({ min: 1, max: 3, scale: 'linear', integer: true, steps: 9 }), [1, 2, 3]);
  });
});

describe('random', () => {
  const wide: SearchSpace = [
    { key: 'options.rank', range: { min: 1, max: 64, scale: 'log', integer: true, steps: 3 } },
    { key: 'recipe.learningRate', range: { min: 1e-4, max: 1e-1, scale: 'log', integer: false, steps: 3 } },
  ];

  it('draws what the seed says, inside the intervals, no two alike', () => {
    const drawn = askAll(random, wide, { seed: 1, trials: 30 });
    assert.deepEqual(drawn, askAll(random, wide, { seed: 1, trials: 30 }));
    assert.notDeepEqual(drawn, askAll(random, wide, { seed: 2, trials: 30 }));
    assert.equal(new Set(drawn.map(d => JSON.stringify(d))).size, 30);
    const rates = drawn.map(d => d['recipe.learningRate'] as number);
    assert.ok(rates.every(rate => rate >= 1e-4 && rate <= 1e-1));
    assert.ok(drawn.every(d => Number.isInteger(d['options.rank'])));
    const small = rates.filter(rate => rate < 10 ** -2.5).length;
    assert.ok(small > 8 && small < 22, `${small} of 30 below the middle of the log scale`);
  });

  it('ends when a finite space is used up, and at its number of trials', () => {
    assert.equal(askAll(random, space, { seed: 0, trials: 100 }).length, 4);
    assert.equal(askAll(random, wide, { seed: 0, trials: undefined }).length, 10);
  });

  it('goes on after a replay as if it had never stopped', () => {
    const whole = askAll(random, wide, { seed: 3, trials: 6 });
    const tried: Tried[] = whole.slice(0, 3).map((assignment, i) => ({ assignment, value: i }));
    assert.deepEqual(random.ask(wide, tried, { seed: 3, trials: 6 }), whole[3]);
  });
});
