import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { resultCsv, resultLatex } from '../../../src/cli/result-files';
import { resultTable } from '../../../src/cli/result-table';
import { resultRows } from '../../../src/cli/results';
import { textTable } from '../../../src/cli/text-table';
import type { Snapshot, SnapshotTrial } from '../../../src/common/snapshot';
import type { Metrics } from '../../../src/common/trial';
import { fakeSnapshot } from '../../fixtures/snapshot';

const snapshot = studyOf([
  row('a', 'linear', { label: 'linear seed=1', seed: 1, test: 0.5, validation: 0.4 }),
  row('a', 'linear', { label: 'linear seed=2', seed: 2, test: 0.7, validation: 0.6 }),
  row('a', 'lora', { label: 'lora rank=4', assignment: { 'options.rank': 4 }, trainable: 1000, test: 0.9, validation: 0.7 }),
  row('a', 'lora', { label: 'lora rank=8', assignment: { 'options.rank': 8 }, trainable: 2_000_000, test: 0.8, validation: 0.7 }),
  row('b', 'lora', { label: 'lora rank=4', assignment: { 'options.rank': 4 }, trainable: 1000, test: 0.6, validation: 0.7 }),
  row('b', 'full', { label: 'full', status: 'failed', error: 'disk full\nmore' }),
  row('b', 'ln', { label: 'ln', status: 'queued' }),
]);

describe('results', () => {
  it('are means over seeds', () => {
    const rows = resultRows(snapshot);
    assert.deepEqual(rows.map(r => [r.dataSet, r.label, r.seeds]), [['a', 'linear', 2], ['a', 'lora rank=4', 1], ['a', 'lora rank=8', 1], ['b', 'lora rank=4', 1]]);
    assert.ok(Math.abs(rows[0]!.test!.mean - 0.6) < 1e-12);
    assert.ok(Math.abs(rows[0]!.test!.deviation! - Math.SQRT2 / 10) < 1e-12);
    assert.equal(rows[1]!.test!.deviation, null);
  });

  it('print as a table for each data set, with what failed or waits', () => {
    assert.equal(resultTable(snapshot), [
      'a, 2 classes (top-1 accuracy in %)',
      'method       trainable  validation  test, last  test, best  seconds  images/s  seeds',
      '-----------  ---------  ----------  ----------  ----------  -------  --------  -----',
      'linear               0  50.0 ±14.1  60.0 ±14.1  60.0 ±14.1     12.0       100      2',
      'lora rank=4      1,000        70.0        90.0        90.0     12.0       100      1',
      'lora rank=8  2,000,000        70.0        80.0        80.0     12.0       100      1',
      '',
      'b, 2 classes (top-1 accuracy in %)',
      'method       trainable  validation  test, last  test, best  seconds  images/s',
      '-----------  ---------  ----------  ----------  ----------  -------  --------',
      'lora rank=4      1,000        70.0        60.0        60.0     12.0       100',
      '',
      'failed: full on b: disk full',
      '1 of 7 trials have no result yet.',
    ].join('\n').replaceAll('     12.0', '       12'));
    assert.equal(resultTable(studyOf([])), 'There are no results yet.');
  });

  it('become LaTeX: validation chooses, the last among equals, the best test in bold', () => {
    assert.deepEqual(resultLatex(snapshot).split('\n').slice(3, -3), [
      '  Method & Params (M) & a & b & Mean \\\\', '  \\midrule',
      '  linear & 0.000 & 60.0 {\\scriptsize $\\pm$ 14.1} & -- & -- \\\\',
      '  lora & 1.000 & \\textbf{80.0} & \\textbf{60.0} & 70.0 \\\\',
    ]);
  });

  it('keep apart in LaTeX what the study lists, whatever its name holds', () => {
    const listed = studyOf([
      row('a', 'lora', { label: 'lora rank=4', test: 0.5 }), row('a', 'lora', { label: 'lora rank=8', test: 0.6 }),
      row('a', 'lora', { label: 'LoRA r=8 rank=2', assignment: { 'options.rank': 2 }, test: 0.7 }),
      row('a', 'ssf+lora', { label: 'ssf+lora lora.rank=3', assignment: { 'options.lora.rank': 3 }, test: 0.8 }),
    ]);
    const names = resultLatex(listed).split('\n').filter(line => line.endsWith('\\\\')).map(line => line.split('&')[0]!.trim());
    assert.deepEqual(names, ['Method', 'lora rank=4', 'lora rank=8', 'LoRA r=8', 'ssf+lora']);
  });

  it('become CSV that keeps every trial, quoted where needed', () => {
    const lines = resultCsv(snapshot).trimEnd().split('\n');
    assert.match(lines[0]!, /^id,data_set,backbone,method,label,options,.*test_top1/);
    assert.match(lines[1]!, /,"\{""rank"":1\}",/);
    assert.ok(resultCsv(snapshot).includes('"disk full\nmore"'));
    assert.match(resultCsv(studyOf([])), /^id,data_set[^\n]*\n$/);
  });

  it('show every trial of a real-looking study', () => {
    const text = resultTable(fakeSnapshot());
    for (const label of ['linear', 'lora rank=32', 'failed: vpt-deep prompts=50']) assert.ok(text.includes(label), label);
  });
});

describe('a text table', () => {
  it('puts numbers to the right and words to the left', () => {
    assert.equal(textTable(['n', 'what'], [['1', 'a'], ['10', 'long']]), ' n  what\n--  ----\n 1  a\n10  long');
  });
});

interface Row { label: string; assignment?: SnapshotTrial['assignment']; seed?: number; test?: number; validation?: number; trainable?: number; status?: SnapshotTrial['status']; error?: string }

function row(dataSet: string, method: string, { label, assignment = {}, seed = 42, test, validation, trainable = 0, status = 'finished', error }: Row): SnapshotTrial {
  const metrics = (top1: number | undefined): Metrics | null => top1 === undefined ? null : { loss: 1, top1, balancedAccuracy: top1, macroF1: top1, samples: 10 };
  return {
    id: `${dataSet}-${label}`, dataSet, backbone: 'tiny', method, label, options: { rank: 1 }, assignment, learningRate: 1e-3, weightDecay: 0, seed, status,
    error: error ?? null, parameters: { trainable, head: 2, total: 9, backbone: 9 }, engine: 'cpu', epoch: 1, epochs: 1,
    validation: metrics(validation), test: metrics(test), bestEpoch: 1, bestValidation: metrics(validation), bestTest: metrics(test),
    trainSeconds: 12, imagesPerSecond: 100, peakMemoryMiB: 1, lossCurve: [], accuracyCurve: [], confusion: null, warnings: [],
  };
}

function studyOf(trials: SnapshotTrial[]): Snapshot {
  return {
    study: { name: 's', file: '/s.peft.json', store: '/s.peft' }, running: false, updated: 0, trials, overlaps: [], warnings: [],
    progress: { finished: 0, failed: 0, total: trials.length, secondsLeft: null, current: null },
    dataSets: ['a', 'b'].map(name => ({ name, root: `/${name}`, classes: ['x', 'y'], classCounts: {} })),
  };
}
