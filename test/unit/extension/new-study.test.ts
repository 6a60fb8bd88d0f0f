/** What New Study looks for and writes. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { methodCatalog } from '../../../src/common/method-catalog';
import { parseStudy } from '../../../src/common/parse-study';
import { findImageFolders } from '../../../src/extension/image-folders';
import { studyTemplate } from '../../../src/extension/study-template';

describe('studyTemplate', () => {
  it('is a valid study with any set of methods', () => {
    const methods = methodCatalog();
    const { study, problems } = parseStudy(studyTemplate({ name: 'a', backbone: { file: 'vit "tiny".safetensors' }, images: '../images', methods, catalog: methods }), methods);
    assert.equal(problems, undefined);
    assert.deepEqual(study!.methods.map(entry => entry.method), methods.map(({ id }) => id));
    assert.equal(study!.backbone.file, 'vit "tiny".safetensors');
    assert.equal(study!.data[0]!.path, '../images');
  });

  it('teaches with examples that are valid too', () => {
    const fromHub = parseStudy(studyTemplate({ name: 'a', backbone: { hub: 'timm/vit@v1' }, images: 'images', methods: [{ id: 'linear', summary: 'Only the head.' }], catalog: methodCatalog() }), methodCatalog());
    assert.deepEqual(fromHub.study?.backbone, { hub: 'timm/vit@v1' });
    const text = studyTemplate({ name: 'a', backbone: { file: 'demo' }, images: 'images', methods: [{ id: 'linear', summary: 'Only the head.' }], catalog: methodCatalog() });
    const examples = [...text.matchAll(/^ *\/\/ {3}([{[].*[}\]])$/gm)].map(match => match[1]!);
    assert.equal(examples.length, 4);
    for (const example of examples) assert.equal(parseStudy(text.replace('"linear",', `${example},`), methodCatalog()).problems, undefined, example);
  });
});

describe('findImageFolders', () => {
  let top: string;
  before(() => {
    top = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-folders-'));
    const write = (file: string, text = '') => {
      fs.mkdirSync(path.dirname(path.join(top, file)), { recursive: true });
      fs.writeFileSync(path.join(top, file), text);
    };
    for (const split of ['train', 'val', 'test']) for (const name of ['cat', 'dog']) write(`pets/${split}/${name}/1.JPG`);
    for (const name of ['a', 'b', 'c']) write(`letters/${name}/1.png`);
    for (const number of [1, 2, 3, 4]) write(`digits/images/train800/${number}.jpg`);
    write('digits/train800.txt', 'images/train800/1.jpg 0\n');
    for (const name of ['old/train/a/1.ppm', 'old/train/b/1.PGM', 'old/dev/a/2.avif', 'old/dev/a/._2.avif']) write(name);
    write('table/labels.csv', 'path,label,split\n1.png,0,train\n');
    write('table/semicolons.csv', '\ufeff"path";"label"\n1.png;0\n');
    write('table/tabs.csv', 'path\tlabel\n1.png\t0\n');
    write('table/other.csv', 'name,price\n');
    for (const hidden of ['node_modules/x/1.png', 'old.peft/x/1.png', '.git/x/1.png']) write(hidden);
  });
  after(() => fs.rmSync(top, { recursive: true, force: true }));

  it('finds folders of classes, with and without splits, lists and CSV files, and nothing else', async () => {
    const found = (await findImageFolders(top)).map(one => ({ ...one, path: path.relative(top, one.path).replaceAll('\\', '/') }));
    assert.deepEqual(found, [
      { path: 'pets', kind: 'folders', images: 6 },
      { path: 'digits', kind: 'lists', images: 4 },
      { path: 'letters', kind: 'folders', images: 3 },
      { path: 'old', kind: 'folders', images: 3 },
      { path: 'table/labels.csv', kind: 'csv', images: 0 },
      { path: 'table/semicolons.csv', kind: 'csv', images: 0 },
      { path: 'table/tabs.csv', kind: 'csv', images: 0 },
    ]);
  });

  it('finds nothing in a folder that is not there', async () => {
    assert.deepEqual(await findImageFolders(path.join(top, 'nowhere')), []);
  });
});
