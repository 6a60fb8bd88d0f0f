import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { oneOf, parseArguments, required, wholeNumber } from '../../../src/cli/arguments';
import { trialCost, forwardFlops } from '../../../src/cli/cost';
import { predictionCsv } from '../../../src/cli/prediction-file';
import { presets } from '../../../src/vit/presets';
import { fakeTrial } from '../store/fixtures';

const command = { usage: 'run STUDY', positionals: ['STUDY'], flags: { engine: { value: 'E', help: 'the engine' }, fresh: { help: 'anew' } } };

describe('arguments', () => {
  it('are flags with values, switches and positionals in any order', () => {
    assert.deepEqual(parseArguments(['--engine', 'cpu', 'a.json', '--fresh', '--json'], command), { flags: { engine: 'cpu', fresh: '', json: '' }, positionals: ['a.json'] });
    assert.deepEqual(parseArguments(['--engine=cpu', '--', '--odd.json'], command), { flags: { engine: 'cpu' }, positionals: ['--odd.json'] });
    assert.deepEqual(parseArguments(['--help'], command), { flags: { help: '' }, positionals: [] });
  });

  const wrong: [args: string[], message: RegExp][] = [
    [['a', '--enigne', 'x'], /unknown flag --enigne; did you mean --engine\?/],
    [['a', '-e'], /unknown flag -e/],
    [['a', '--engine'], /--engine needs a value\n {2}--engine E: the engine/],
    [['a', '--fresh=1'], /--fresh takes no value/],
    [[], /STUDY is missing\n {2}Usage: peft-lab run STUDY/],
    [['a', 'b'], /"b" is one argument too many/],
    [['a', '--__proto__', 'x'], /unknown flag/],
  ];
  for (const [args, message] of wrong) {
    it(`refuses ${JSON.stringify(args)}`, () => assert.throws(() => parseArguments(args, command), message));
  }

  it('in brackets may be left out', () => {
    const optional = { ...command, positionals: ['ACTION', '[KIND]'] };
    assert.deepEqual([['list'], ['remove', 'cuda']].map(args => parseArguments(args, optional).positionals.length), [1, 2]);
    assert.throws(() => parseArguments([], optional), /ACTION is missing/);
    assert.throws(() => parseArguments(['a', 'b', 'c'], optional), /"c" is one argument too many/);
  });

  it('have values that are checked', () => {
    assert.equal(wholeNumber('jobs', '3'), 3);
    for (const text of ['0', '-1', '1.5', 'x', '']) assert.throws(() => wholeNumber('jobs', text), /--jobs/);
    assert.throws(() => oneOf('engine', 'grap', ['graph', 'cpu']), /did you mean "graph"/);
    assert.throws(() => required({}, 'out', 'predict'), /--out is missing/);
  });
});

describe('cost', () => {
  it('of ViT-B/16 is the 17.5 G multiplications that its papers state', () => {
    assert.ok(Math.abs(forwardFlops(presets['vit_base_patch16_224']!) / 2 / 1e9 - 17.5) < 0.2);
  });

  it('counts steps and images as training does', () => {
    const counts = { train: [5, 5], validation: [2, 2], test: [3, 4] };
    const trial = fakeTrial();
    const cost = trialCost(trial, counts);
    assert.deepEqual([cost.steps, cost.trainImages, cost.evaluatedImages], [6, 20, 22]);
    const dropped = trialCost({ ...trial, recipe: { ...trial.recipe, dropLast: true, steps: 3 } }, counts);
    assert.deepEqual([dropped.steps, dropped.trainImages], [3, 12]);
  });
});

describe('prediction CSV', () => {
  it('has the surest class with its probability, and labels where there are any', () => {
    const sample = (path: string, label: number) => ({ id: path, path, label, split: 'test' });
    const content = { logits: Float32Array.of(0, Math.log(3), 5, 5), classes: ['x', 'y,z'], samples: [sample('a.png', -1), sample('b.png', -1)] };
    assert.equal(predictionCsv(content), 'path,class,probability\na.png,"y,z",0.750000\nb.png,x,0.500000\n');
    assert.equal(predictionCsv({ ...content, samples: [sample('a.png', 0), sample('b.png', -1)] }).split('\n')[1], 'a.png,"y,z",0.750000,x');
    assert.match(predictionCsv({ ...content, logits: Float32Array.of(NaN, NaN, 5, 5) }), /\na\.png,x,NaN\n/);
  });
});
