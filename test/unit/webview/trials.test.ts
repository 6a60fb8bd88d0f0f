import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bestPerMethod } from '../../../src/common/ranking';
import { drawnTrials, filterTrials, overlapBetween, sortTrials } from '../../../webview/trials';
import { fakeSnapshot } from '../../fixtures/snapshot';

const snapshot = fakeSnapshot();
const labels = (trials: readonly { label: string }[]) => trials.map(t => t.label);
const noFilter = { text: '', method: '', status: '' as const, dataSet: '' };

describe('sortTrials', () => {
  it('sorts numbers, largest first, and leaves what has none at the end', () => {
    const sorted = labels(sortTrials(snapshot.trials, { column: 'test', descending: true }));
    assert.equal(sorted[0], 'adaptformer bottleneck=64');
    assert.equal(sorted.at(-1), 'full learningRate=3e-5');
    assert.equal(labels(sortTrials(snapshot.trials, { column: 'test', descending: false })).at(-1), 'full learningRate=3e-5');
  });

  it('sorts names with numbers in them by the numbers', () => {
    const sorted = labels(sortTrials(snapshot.trials.filter(t => t.method === 'lora'), { column: 'label', descending: false }));
    assert.deepEqual(sorted, ['lora rank=2', 'lora rank=8', 'lora rank=32']);
  });

  it('puts what runs first when sorted by status', () => {
    assert.equal(sortTrials(snapshot.trials, { column: 'status', descending: false })[0]!.status, 'running');
  });

  it('keeps the plan\'s order for an unknown column', () => {
    assert.deepEqual(sortTrials(snapshot.trials, { column: 'plan', descending: true }), snapshot.trials);
  });
});

describe('filterTrials', () => {
  it('wants every word', () => assert.deepEqual(labels(filterTrials(snapshot.trials, { ...noFilter, text: ' RANK=8 lora' })), ['lora rank=8']));
  it('searches error texts', () => assert.deepEqual(labels(filterTrials(snapshot.trials, { ...noFilter, text: 'not finite' })), ['vpt-deep prompts=50']));
  it('combines method and status', () => {
    assert.deepEqual(labels(filterTrials(snapshot.trials, { ...noFilter, method: 'full', status: 'queued' })), ['full learningRate=3e-5']);
  });
});

describe('drawnTrials', () => {
  it('draws what runs and the best of each method until the user chooses', () => {
    const drawn = labels(drawnTrials(snapshot, { selected: null, dataSet: '' }));
    assert.ok(drawn.includes('full') && drawn.includes('adaptformer bottleneck=64'));
    assert.ok(!drawn.includes('lora rank=2'));
    assert.equal(drawn.length, 6);
  });

  it('draws nothing when the user chose nothing', () => assert.deepEqual(drawnTrials(snapshot, { selected: [], dataSet: '' }), []));
});

describe('overlapBetween', () => {
  const [{ a, b }] = snapshot.overlaps as [typeof snapshot.overlaps[number]];

  it('turns a pair around', () => {
    const there = overlapBetween(snapshot.overlaps, a, b)!, back = overlapBetween(snapshot.overlaps, b, a)!;
    assert.deepEqual([back.a, back.onlyAWrong, back.onlyBWrong], [there.b, there.onlyBWrong, there.onlyAWrong]);
    assert.equal(back.examples.onlyAWrong[0]!.predictedA, there.examples.onlyBWrong[0]!.predictedB);
  });

  it('is null for pairs that were not compared', () => assert.equal(overlapBetween(snapshot.overlaps, a, 'other'), null));
});

describe('bestPerMethod', () => {
  it('takes one trial of each method, best first', () => {
    const best = bestPerMethod(snapshot.trials.filter(t => t.status === 'finished'));
    assert.deepEqual(labels(best), ['adaptformer bottleneck=64', 'lora rank=8', 'bitfit', 'vpt-deep prompts=10', 'ln', 'linear']);
  });
});
