import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { formatProblem, parseStudy } from '../../../src/common/parse-study';
import type { MethodOptionSchema } from '../../../src/common/study';

const methods: MethodOptionSchema[] = [
  { id: 'lora', title: 'LoRA', summary: 'Low rank.', options: z.strictObject({
    rank: z.int().positive().default(8).describe('Rank of the update.'),
    variant: z.enum(['study', 'original']).default('study'),
  }) },
  { id: 'full', title: 'Full', summary: 'Everything.', trainsEverything: true, options: z.strictObject({}) },
  { id: 'ssf', title: 'SSF', summary: 'Scales.', options: z.strictObject({}) },
  { id: 'vqt', title: 'VQT', summary: 'Queries.', claims: ['what the classifier reads'], options: z.strictObject({}) },
  { id: 'probe', title: 'Probing', summary: 'A layer.', claims: ['what the classifier reads'], options: z.strictObject({}) },
];

const head = '{ "backbone": { "file": "a.safetensors" }, "data": [{ "path": "d" }], ';

/** A study's text, and what must be said about it: line:column path: message. */
const wrong: [name: string, text: string, expected: RegExp[]][] = [
  ['not JSON', '{ "backbone": }', [/^1:15 not JSON: value expected/]],
  ['an empty file', '', [/^1:1 the file is empty/]],
  ['a missing comma', '{\n "a": 1\n "b": 2 }', [/^3:2 not JSON: comma expected/]],
  ['a duplicate key', `${head}\n"methods": ["lora"],\n "methods": ["full"] }`, [/^3:2 methods "methods" stands here twice/]],
  ['a missing key', '{ "data": [{ "path": "d" }], "methods": ["full"] }', [/^1:1 "backbone" is missing/]],
  ['a missing key inside', '{ "backbone": {},\n "data": [{ "path": "d" }], "methods": ["full"] }', [/^1:15 backbone "file" or "hub" is missing \(Give "file" for a file of this machine, or "hub"/]],
  ['two backbones', '{ "backbone": { "file": "a",\n "hub": "a/b" }, "data": [{ "path": "d" }], "methods": ["full"] }', [/^2:9 backbone\.hub "file" and "hub" exclude each other/]],
  ['an unknown key', `${head}"methods": ["full"],\n  "recipee": {} }`, [/^2:3 unknown key "recipee"; did you mean "recipe"\? \(Known here: name, backbone, data/]],
  ['an unknown key inside', `${head}"methods": ["full"], "recipe": {\n    "learningrate": 1 } }`, [/^2:5 recipe unknown key "learningrate"; did you mean "learningRate"\?/]],
  ['an unknown option', `${head}"methods": [{ "method": "lora", "options": {\n "rnk": 3 } }] }`, [/^2:2 methods\[0\]\.options unknown key "rnk"; did you mean "rank"\? \(Known here: rank, variant\.\)/]],
  ['an option of a method that has none', `${head}"methods": [{ "method": "full", "options": { "rank": 3 } }] }`, [/unknown key "rank" \(methods\[0\]\.options takes nothing\.\)/]],
  ['an unknown method', `${head}"methods": ["full", "lara"] }`, [/^1:\d+ methods\[1\] "lara" is not allowed; did you mean "lora"\? \(Allowed: "lora", "full", "ssf", "vqt", "probe"\.\)/]],
  ['an unknown method in an object', `${head}"methods": [{ "method": "lara" }] }`, [/^1:\d+ methods\[0\]\.method "lara" is not allowed; did you mean "lora"\?/]],
  ['a method of the wrong type', `${head}"methods": [3] }`, [/methods\[0\] must be "lora" or "full" or "ssf" or "vqt" or "probe" or an object \{\.\.\.\} or a list \[\.\.\.\], and is 3/]],
  ['a missing method', `${head}"methods": [{ "options": {} }] }`, [/methods\[0\] "method" is missing/]],
  ['no methods', `${head}"methods": [] }`, [/methods needs at least 1 entries/]],
  ['a wrong type', `${head}"methods": ["full"], "recipe": { "epochs": "ten" } }`, [/recipe\.epochs must be a number, and is "ten"/]],
  ['a fraction', `${head}"methods": ["full"], "recipe": { "epochs": 1.5 } }`, [/recipe\.epochs must be a whole number, and is 1\.5/]],
  ['a number out of range', `${head}"methods": ["full"], "recipe": { "dropPath": 1 } }`, [/recipe\.dropPath must be less than 1, and is 1/]],
  ['a wrong word', `${head}"methods": ["full"], "recipe": { "schedule": "cosin" } }`, [/recipe\.schedule "cosin" is not allowed; did you mean "cosine"\?/]],
  ['a wrong option', `${head}"methods": [{ "method": "lora", "options": { "rank": "x" } }] }`, [/methods\[0\]\.options\.rank must be a number or an object \{\.\.\.\}, and is "x" \(Rank of the update\.\)/]],
  ['an option out of range', `${head}"methods": [{ "method": "lora", "options": { "rank": 0 } }] }`, [/methods\[0\]\.options\.rank must be more than 0, and is 0/]],
  ['a wrong key in a range', `${head}"methods": [{ "method": "lora", "options": { "rank": { "serch": [1] } } }] }`, [/options\.rank "search" is missing/, /options\.rank unknown key "serch"; did you mean "search"\?/]],
  ['a value in a range that the option refuses', `${head}"methods": [{ "method": "lora", "options": { "rank": { "search": [1,\n 0.5] } } }] }`, [/^2:2 methods\[0\]\.options\.rank\.search\[1\] 0\.5 is not allowed here/]],
  ['an interval of fractions for a whole number', `${head}"methods": [{ "method": "lora", "options": { "rank": { "search": { "min": 1, "max": 4 } } } }] }`, [/only whole numbers are allowed \(Add "integer": true/]],
  ['an interval upside down', `${head}"methods": ["full"], "recipe": { "learningRate": { "search": { "min": 1, "max": 0.1 } } } }`, [/max is 0\.1 and not above min/]],
  ['a log scale from 0', `${head}"methods": ["full"], "recipe": { "weightDecay": { "search": { "min": 0, "max": 0.1, "scale": "log" } } } }`, [/a log scale starts above 0/]],
  ['a learning rate that no range may hold', `${head}"methods": ["full"], "recipe": { "learningRate": { "search": [0.1, -1] } } }`, [/recipe\.learningRate\.search\[1\] -1 is not allowed/]],
  ['a combination with what trains everything', `${head}"methods": ["ssf",\n["full", "lora"]] }`, [/^2:1 methods\[1\] Full trains the whole backbone and leaves nothing to combine it with \(Leave one of them out\.\)/]],
  ['a method combined with itself', `${head}"methods": [["lora", { "method": "lora", "options": { "rank": 4 } }]] }`, [/methods\[0\] LoRA stands in the combination twice/]],
  ['two that replace the same thing', `${head}"methods": [{ "methods":\n ["vqt", "probe"], "name": "both" }] }`, [/^2:2 methods\[0\]\.methods VQT and Probing both replace what the classifier reads/]],
  ['a wrong option in a combination', `${head}"methods": [["ssf", { "method": "lora", "options": { "rnk": 4 } }]] }`, [/methods\[0\]\[1\]\.options unknown key "rnk"; did you mean "rank"\?/]],
  ['an unknown method in a combination', `${head}"methods": [["ssf", "lara"]] }`, [/methods\[0\]\[1\] "lara" is not allowed; did you mean "lora"\?/]],
  ['a combination of one', `${head}"methods": [["ssf"]] }`, [/methods\[0\] needs at least 2 entries/]],
  ['a range in a combination that the option refuses', `${head}"methods": [["ssf", { "method": "lora", "options": { "rank": { "search": [4,\n 0.5] } } }]] }`, [/^2:2 methods\[0\]\[1\]\.options\.rank\.search\[1\] 0\.5 is not allowed here/]],
  ['two of one name', '{ "backbone": { "file": "a" }, "data": [{ "path": "d", "name": "x" },\n { "path": "e", "name": "x" }], "methods": ["full"] }', [/^2:25 data\[1\]\.name another one has this name/]],
  ['a later launcher', `${head}"methods": ["full"], "launcher": "slurm" }`, [/launcher "slurm" is not allowed/]],
  ['a dangerous key', `${head}"methods": ["full"], "__proto__": {} }`, [/unknown key "__proto__"/]],
  ['several at once', `${head}"methods": ["lara"], "engine": "gpu", "x": 1 }`, [/methods\[0\]/, /engine "gpu"/, /unknown key "x"/]],
  ['no object', '[]', [/must be an object/]],
];

describe('parseStudy', () => {
  for (const [name, text, expected] of wrong) {
    it(`names ${name}`, () => {
      const { problems } = parseStudy(text, methods);
      const shown = (problems ?? []).map(p => `${p.line}:${p.column} ${[p.path, p.message].filter(Boolean).join(' ')}${p.remedy ? ` (${p.remedy})` : ''}`);
      assert.equal(shown.length, expected.length, shown.join('\n'));
      expected.forEach((pattern, i) => assert.match(shown[i]!, pattern));
    });
  }

  it('accepts comments, trailing commas, a byte order mark, and fills in the defaults', () => {
    const { study, problems } = parseStudy(`\uFEFF${head} // which to compare
      "methods": ["full", { "method": "lora", "options": { "rank": { "search": [1, 8] }, }, },], /* the rest */ }`, methods);
    assert.equal(problems, undefined);
    assert.deepEqual(study!.methods, [{ method: 'full', options: {} }, { method: 'lora', options: { rank: { search: [1, 8] } } }]);
    assert.equal(study!.recipe.epochs, 100);
    assert.equal(study!.data[0]!.holdOut.validation, 0.2);
    assert.equal(study!.engine, 'auto');
  });

  it('reads methods that are trained together, as a list or with a name', () => {
    const { study, problems } = parseStudy(`${head}"methods": [
      ["ssf", { "method": "lora", "options": { "rank": { "search": [1, 8] } } }],
      { "methods": ["lora", "vqt"], "name": "both", "recipe": { "epochs": 3 } }] }`, methods);
    assert.equal(problems, undefined);
    assert.deepEqual(study!.methods, [
      { method: 'ssf+lora', options: { ssf: {}, lora: { rank: { search: [1, 8] } } } },
      { method: 'lora+vqt', options: { lora: {}, vqt: {} }, name: 'both', recipe: { epochs: 3 } },
    ]);
  });

  it('counts columns after a byte order mark and in CRLF files', () => {
    const { problems } = parseStudy(`\uFEFF${head}\r\n"methods": ["lara"] }`, methods);
    assert.deepEqual([problems![0]!.line, problems![0]!.column], [2, 13]);
  });

  it('prints a problem as editors link it', () => {
    const { problems } = parseStudy(`${head}"methods": ["lara"] }`, methods);
    assert.equal(formatProblem('a.peft.json', problems![0]!), `a.peft.json:1:83: methods[0]: "lara" is not allowed; did you mean "lora"?\n  Allowed: "lora", "full", "ssf", "vqt", "probe".`);
  });
});
