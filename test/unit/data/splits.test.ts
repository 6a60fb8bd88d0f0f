import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { drawSplits, type Drawable } from '../../../src/data/splits';

const make = (classSizes: readonly number[]): Drawable[] =>
  classSizes.flatMap((size, label) => Array.from({ length: size }, (_, i) => ({ id: `${label}/${i}`, label })));
const count = (samples: readonly Drawable[], drawn: readonly string[], split: string, label?: number) =>
  samples.filter((sample, i) => drawn[i] === split && (label === undefined || sample.label === label)).length;

describe('drawSplits', () => {
  const fractions = { validation: 0.2, test: 0.1 };

  it('keeps the classes\' shares and the totals', () => {
    const samples = make([100, 37, 12, 3]);
    const drawn = drawSplits(samples, { fractions, seed: 1 });
    assert.deepEqual([0, 1, 2, 3].map(label => count(samples, drawn, 'test', label)), [10, 4, 1, 0]);
    assert.equal(count(samples, drawn, 'validation'), 30); // of 152, a fifth
    for (const label of [0, 1, 2, 3]) assert.ok(Math.abs(count(samples, drawn, 'validation', label) - [100, 37, 12, 3][label]! / 5) < 1);
  });

  it('meets the totals when classes are tiny, and leaves each one to train on', () => {
    const samples = make(Array.from({ length: 50 }, () => 2));
    const drawn = drawSplits(samples, { fractions, seed: 1 });
    assert.deepEqual(['test', 'validation'].map(split => count(samples, drawn, split)), [10, 20]);
    for (let label = 0; label < 50; label++) assert.ok(count(samples, drawn, 'train', label) >= 1);
  });

  it('depends on seed and ids, not on the order of the samples', () => {
    const samples = make([40, 40]), reversed = [...samples].reverse();
    const drawn = drawSplits(samples, { fractions, seed: 1 });
    assert.deepEqual(drawSplits(reversed, { fractions, seed: 1 }).reverse(), drawn);
    assert.notDeepEqual(drawSplits(samples, { fractions, seed: 2 }), drawn);
  });

  it('moves few samples when one is added', () => {
    const samples = make([60, 60]), more = [...samples, { id: 'new', label: 0 }];
    const before = drawSplits(samples, { fractions, seed: 1 }), after = drawSplits(more, { fractions, seed: 1 });
    assert.ok(before.filter((split, i) => split !== after[i]).length <= 4);
  });

  it('draws only what is asked for', () => {
    const drawn = drawSplits(make([10, 10]), { fractions: { test: 0.3 }, seed: 1 });
    assert.deepEqual([...new Set(drawn)].sort(), ['test', 'train']);
  });

  it('keeps groups together and near the shares', () => {
    const samples = make([300, 150]).map((sample, i) => ({ ...sample, group: `g${(i * 7) % 45}` }));
    const drawn = drawSplits(samples, { fractions: { validation: 0.2, test: 0.2 }, seed: 3 });
    const sides = new Map<string, Set<string>>();
    samples.forEach((sample, i) => sides.set(sample.group, (sides.get(sample.group) ?? new Set()).add(drawn[i]!)));
    for (const [group, splits] of sides) assert.equal(splits.size, 1, group);
    for (const split of ['validation', 'test']) for (const label of [0, 1]) {
      const share = count(samples, drawn, split, label) / [300, 150][label]!;
      assert.ok(Math.abs(share - 0.2) < 0.07, `${split} ${label}: ${share}`);
    }
  });

  it('gives every split a group when there are just enough, whatever their sizes', () => {
    const samples = make([100]).map((sample, i) => ({ ...sample, group: i < 98 ? 'large' : `small${i}` }));
    assert.deepEqual([...new Set(drawSplits(samples, { fractions, seed: 1 }))].sort(), ['test', 'train', 'validation']);
  });
});
