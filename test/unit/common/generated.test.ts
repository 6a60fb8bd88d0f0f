import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { describe, it } from 'node:test';
import { methodCatalog } from '../../../src/common/method-catalog';
import { parseStudy } from '../../../src/common/parse-study';
import { methodOptionSchemas } from '../../../src/peft/registry';
import { generatedFiles } from '../../../tools/generated-files';

describe('generated files', () => {
  for (const [file, text] of Object.entries(generatedFiles())) {
    it(`${file} is what the sources say (else: npm run generate)`, () => {
      assert.equal(fs.readFileSync(file, 'utf8').replaceAll('\r\n', '\n'), text);
    });
  }

  it('the types of ONNX and SavedModel are what their .proto files say (else: npm run generate)', () => {
    const texts = JSON.parse(execFileSync(process.execPath, ['tools/generate-protobuf-types.mjs'], { encoding: 'utf8' })) as Record<string, string>;
    assert.equal(Object.keys(texts).length, 2);
    for (const [file, text] of Object.entries(texts)) assert.equal(fs.readFileSync(file, 'utf8').replaceAll('\r\n', '\n'), text, file);
  });

  it('the catalogue accepts and refuses what the methods themselves do', () => {
    const study = (entry: string) => `{ "backbone": { "file": "a" }, "data": [{ "path": "d" }], "methods": [${entry}] }`;
    const entries = [
      ...methodOptionSchemas().map(m => `"${m.id}"`),
      '{ "method": "lora", "options": { "rank": { "search": [1, 2] } } }',
      '{ "method": "lora", "options": { "rank": 1.5 } }',
      '{ "method": "lora", "options": { "rank": { "search": [1, 0] } } }',
      '{ "method": "lora", "options": { "rnk": 1 } }',
      '{ "method": "linear", "options": { "rank": 1 } }',
    ];
    const outcomes = entries.map(entry => {
      const [full, light] = [methodOptionSchemas(), methodCatalog()].map(m => parseStudy(study(entry), m));
      assert.deepEqual(light!.problems?.map(p => p.path), full!.problems?.map(p => p.path), entry);
      assert.deepEqual(light!.study, full!.study);
      return full!.problems === undefined;
    });
    assert.deepEqual(outcomes.slice(-5), [true, false, false, false, false]);
  });
});
