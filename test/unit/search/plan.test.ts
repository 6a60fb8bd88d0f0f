import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { labelTrials } from '../../../src/analysis/labels';
import { parseStudy } from '../../../src/common/parse-study';
import type { StudyFacts } from '../../../src/common/resolve';
import { planTrials } from '../../../src/search/plan';
import { fakeTrial } from '../store/fixtures';

const methods = [
  { id: 'lora', title: '', summary: '', options: z.strictObject({ rank: z.int().default(8), variant: z.string().default('study') }) },
  { id: 'full', title: '', summary: '', options: z.strictObject({}) },
  { id: 'scale', title: '', summary: '', options: z.strictObject({ size: z.int().default(1) }) },
];
const facts: StudyFacts = {
  study: 'study',
  backbone: { ...fakeTrial().backbone, normalization: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } },
  methods: { lora: { version: 1, options: methods[0]!.options }, full: { version: 2, options: methods[1]!.options } },
  recipeVersion: 1, init: null,
  count: ({ method, classes }) => ({ trainable: method.length, head: classes, total: 9, backbone: 9 }),
};
const { data } = fakeTrial();

describe('planTrials', () => {
  it('multiplies data sets, methods, ranges and seeds, in that order', () => {
    const { trials, asked } = plan(`"methods": ["full", { "method": "lora", "options": { "rank": { "search": [4, 16] } } }], "recipe": { "seeds": [1, 2] }`);
    assert.deepEqual(trials.map(t => [t.method.id, t.method.options['rank'], t.recipe.seed]), [
      ['full', undefined, 1], ['full', undefined, 2], ['lora', 4, 1], ['lora', 4, 2], ['lora', 16, 1], ['lora', 16, 2],
    ]);
    assert.deepEqual(asked.map(a => [a.number, a.assignment, a.trials.length]), [[0, {}, 2], [0, { 'options.rank': 4 }, 2], [1, { 'options.rank': 16 }, 2]]);
    assert.match(asked[1]!.search, /^shapes\/lora\//);
  });

  it('searches the options of methods that are trained together, and names what was chosen', () => {
    const combined: StudyFacts = { ...facts, methods: { ...facts.methods, 'lora+scale': { version: 3, options: z.strictObject({ lora: methods[0]!.options.prefault({}), scale: methods[2]!.options.prefault({}) }) } } };
    const { trials } = plan('"methods": [["lora", { "method": "scale", "options": { "size": { "search": [2, 4] } } }]]', combined);
    assert.deepEqual(trials.map(t => [t.method.id, t.method.name, t.method.version, t.method.options]), [2, 4].map(size => [
      'lora+scale', 'lora+scale', 3, { lora: { rank: 8, variant: 'study' }, scale: { size } },
    ]));
    assert.deepEqual(trials.map(t => t.assignment), [{ 'options.scale.size': 2 }, { 'options.scale.size': 4 }]);
    assert.deepEqual([...labelTrials(trials).values()], ['lora+scale scale.size=2', 'lora+scale scale.size=4']);
  });

  it('resolves defaults, ranges, overrides and normalisation', () => {
    const [trial] = plan(`"methods": [{ "method": "lora", "recipe": { "epochs": 7 } }], "recipe": { "learningRate": { "search": [0.5] }, "batchSize": 3 }`).trials;
    assert.deepEqual(trial!.method, { id: 'lora', name: 'lora', version: 1, options: { rank: 8, variant: 'study' } });
    assert.deepEqual([trial!.recipe.epochs, trial!.recipe.learningRate, trial!.recipe.batchSize, trial!.recipe.warmupEpochs], [7, 0.5, 3, 10]);
    assert.deepEqual(trial!.recipe.normalization.mean, [0.5, 0.5, 0.5]);
    assert.deepEqual(trial!.assignment, { 'recipe.learningRate': 0.5 });
    assert.equal('seeds' in trial!.recipe, false);
    assert.deepEqual(trial!.parameters, { trainable: 4, head: 2, total: 9, backbone: 9 });
  });

  it('runs identical trials once', () => {
    const { trials, asked } = plan(`"methods": ["lora", { "method": "lora", "options": { "rank": 8 } }, { "method": "lora", "options": { "rank": { "search": [8, 9] } } }]`);
    assert.equal(trials.length, 2);
    assert.equal(asked.length, 4);
  });

  it('tells entries of one method apart', () => {
    const names = (entries: string) => plan(`"methods": [${entries}]`).trials.map(t => t.method.name);
    assert.deepEqual(names('{ "method": "lora", "options": { "rank": 4 } }, { "method": "lora", "options": { "rank": 5 } }, "full"'), ['lora rank=4', 'lora rank=5', 'full']);
    assert.deepEqual(names('{ "method": "lora", "name": "mine" }, { "method": "lora", "options": { "rank": 5 } }'), ['mine', 'lora']);
  });
});

describe('trial ids', () => {
  const base = '"methods": ["lora"]';
  const id = (text: string, changed: Partial<StudyFacts> = {}, dataSet = data) => plan(text, changed, dataSet).trials[0]!.id;

  it('stay when names, paths, the engine or the order of keys change', () => {
    const same = [
      id('"name": "other", "engine": "wasm", "methods": [{ "options": { "rank": 8 }, "name": "x", "method": "lora" }]'),
      id(base, { study: 'other', backbone: { ...facts.backbone, name: 'b', file: '/elsewhere', warnings: ['w'] } }),
      id(base, {}, { ...data, name: 'x', root: '/elsewhere' }),
    ];
    assert.deepEqual(same, [id(base), id(base), id(base)]);
    assert.match(id(base), /^[0-9a-f]{12}$/);
  });

  it('change with everything that changes the numbers', () => {
    const ids = [
      id(base),
      id('"methods": [{ "method": "lora", "options": { "rank": 9 } }]'),
      id(`${base}, "recipe": { "epochs": 3 }`),
      id(`${base}, "recipe": { "seeds": [1] }`),
      id(`${base}, "recipe": { "normalization": "none" }`),
      id(`${base}, "evaluation": { "everyEpochs": 2 }`),
      id(base, { recipeVersion: 2 }),
      id(base, { methods: { ...facts.methods, lora: { ...facts.methods['lora']!, version: 2 } } }),
      id(base, { backbone: { ...facts.backbone, fingerprint: 'other' } }),
      id(base, { backbone: { ...facts.backbone, architecture: { ...facts.backbone.architecture, heads: 2 } } }),
      id(base, { init: { folder: '/a', fingerprint: 'i' } }),
      id(base, {}, { ...data, fingerprint: 'other' }),
      id(base, {}, { ...data, classes: ['y', 'x'] }),
      id(base, {}, { ...data, onBadImage: 'skip' }),
    ];
    assert.equal(new Set(ids).size, ids.length);
  });

  it('cover the adapter that training starts from, not where it lies', () => {
    const text = `${base}, "recipe": { "init": "x" }`;
    const [here, there] = ['/a', '/b'].map(folder => plan(text, { init: { folder, fingerprint: 'i' } }).trials[0]!);
    assert.equal(here!.id, there!.id);
    assert.equal(here!.recipe.init, '/a');
  });
});

function plan(text: string, changed: Partial<StudyFacts> = {}, dataSet = data) {
  const { study, problems } = parseStudy(`{ "backbone": { "file": "a" }, "data": [{ "path": "d" }], ${text} }`, methods);
  assert.deepEqual(problems, undefined);
  return planTrials({ study: study!, facts: { ...facts, ...changed }, dataSets: [dataSet] });
}
