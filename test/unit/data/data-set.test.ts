import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { DataSetSpec } from '../../../src/common/study';
import { UserError } from '../../../src/common/errors';
import { indexDataSet, type IndexOptions } from '../../../src/data/data-set';
import { indexSplit, indexUnlabelled } from '../../../src/data/unlabelled';
import { temporaryFolder, writePictures, writeText } from './pictures';

type Changes = Omit<Partial<DataSetSpec>, 'holdOut'> & { holdOut?: Partial<DataSetSpec['holdOut']> };

function spec({ holdOut, ...changes }: Changes = {}): DataSetSpec {
  return {
    path: 'set', format: 'auto', splits: { train: 'train', validation: 'val', test: 'test' },
    holdOut: { validation: 0.2, test: 0.2, seed: 0, ...holdOut }, onBadImage: 'stop', ...changes,
  };
}

/** A folder `set` in a temporary study folder; `index` indexes it. */
function study(t: TestContext) {
  const folder = temporaryFolder(t), root = path.join(folder, 'set');
  fs.mkdirSync(root);
  const index = (changes?: Changes, more: Partial<IndexOptions> = {}) => indexDataSet(spec(changes), { folder, cacheFolder: path.join(folder, 'cache'), ...more });
  return { folder, root, index };
}

/** Fails unless the promise rejects with a UserError whose whole message matches every pattern. */
async function refuses(promise: Promise<unknown>, ...patterns: RegExp[]): Promise<void> {
  const error = await promise.then(() => assert.fail('accepted'), (thrown: unknown) => thrown);
  assert.ok(error instanceof UserError, String(error));
  for (const pattern of patterns) assert.match(error.message, pattern);
  assert.ok(error.where && error.remedy, 'says where and what to do');
}

const splitOf = (samples: readonly { path: string; split: string }[]) => Object.fromEntries(samples.map(s => [s.path, s.split]));

describe('ImageFolder', () => {
  it('reads splits and classes sorted by name, nested folders too', async t => {
    const { root, index } = study(t);
    await writePictures(root, ['train/b/1.png', 'train/a/deep/2.png', 'val/a/3.png', 'val/b/4.png', 'test/b/5.png', 'train/a/.hidden.png']);
    writeText(root, 'train/a/notes.txt', ['not an image']);
    const { dataSet, samples, classCounts, warnings } = await index();
    assert.deepEqual(dataSet.classes, ['a', 'b']);
    assert.equal(dataSet.name, 'set');
    assert.deepEqual(samples.map(({ path: file, label, split }) => [file, label, split]), [
      ['train/a/deep/2.png', 0, 'train'], ['train/b/1.png', 1, 'train'], ['val/a/3.png', 0, 'validation'], ['val/b/4.png', 1, 'validation'], ['test/b/5.png', 1, 'test'],
    ]);
    assert.deepEqual(classCounts, { train: [1, 1], validation: [1, 1], test: [0, 1] });
    assert.deepEqual(warnings, []);
  });

  it('draws all splits where there are none, stratified, the same on every machine', async t => {
    const { root, index } = study(t);
    const files = ['cat', 'dog'].flatMap(name => Array.from({ length: 10 }, (_, i) => `${name}/${i}.png`));
    await writePictures(root, files);
    const first = await index();
    assert.deepEqual(first.classCounts, { train: [6, 6], validation: [2, 2], test: [2, 2] });
    assert.equal(first.warnings.length, 2);
    assert.match(first.warnings.join('\n'), /no validation split; 4 of the 20 images were drawn for it \(seed 0\)/);
    assert.deepEqual((await index()).samples, first.samples);
    assert.notDeepEqual(splitOf((await index({ holdOut: { seed: 1 } })).samples), splitOf(first.samples));
  });

  it('takes a class called train for a class', async t => {
    const { root, index } = study(t);
    await writePictures(root, ['train', 'bus'].flatMap(name => Array.from({ length: 5 }, (_, i) => `${name}/${i}.png`)));
    assert.deepEqual((await index()).dataSet.classes, ['bus', 'train']);
  });

  it('takes the order of classes from the study and refuses a folder that is none of them', async t => {
    const { root, index } = study(t);
    await writePictures(root, ['a', 'b', 'c'].flatMap(name => ['train', 'val', 'test'].map(split => `${split}/${name}/1.png`)));
    const { dataSet, samples } = await index({ classes: ['c', 'a', 'b'] });
    assert.deepEqual(dataSet.classes, ['c', 'a', 'b']);
    assert.equal(samples.find(sample => sample.path === 'train/c/1.png')!.label, 0);
    await refuses(index({ classes: ['bb', 'a', 'c'] }), /class "b" is not among the 3 classes/, /train\/b\/1\.png/, /Did you mean "bb"/);
    await refuses(index({ classes: ['a', 'a', 'b'] }), /"a" is listed twice/);
  });

  it('says what it left out, and which classes are imbalanced', async t => {
    const { root, index } = study(t);
    await writePictures(root, [...Array.from({ length: 7 }, (_, i) => `train/many/${i}.png`), 'train/few/1.png', 'train/few/2.png', 'val/many/1.png', 'test/many/1.png', 'train/loose.png', 'old/many/1.png']);
    const { warnings } = await index();
    assert.equal(warnings.length, 3);
    assert.match(warnings.join('\n'), /1 images lie outside any class folder/);
    assert.match(warnings.join('\n'), /not read, being none of the splits: old/);
    assert.match(warnings.join('\n'), /7 training images of "many", 2 of "few" \(3\.5 to 1\)/);
  });

  it('warns of a class without training images and of one picture on both sides', async t => {
    const { root, index } = study(t);
    await writePictures(root, ['train/a/1.png', 'val/a/2.png', 'test/a/3.png', 'test/b/4.png']);
    fs.copyFileSync(path.join(root, 'train/a/1.png'), path.join(root, 'test/a/copy.png'));
    const { warnings } = await index();
    assert.match(warnings.join('\n'), /1 of 2 classes have no training image: b/);
    assert.match(warnings.join('\n'), /1 images of test are also in train under another name \(test\/a\/copy\.png = train\/a\/1\.png\)/);
  });

  it('refuses what is not there', async t => {
    const { root, folder, index } = study(t);
    await refuses(index({ path: 'nowhere' }), /there is no folder or file .*nowhere/);
    await refuses(index({ path: 'nowhere', format: 'image-folder' }), /there is no folder .*nowhere/);
    await refuses(index(), /no images found/, /set/);
    await writePictures(root, ['test/a/1.png', 'val/a/2.png']);
    await refuses(index(), /no training split/, /looked for train/);
    assert.ok(folder);
  });

  it('refuses a link that leaves the root, and follows one that does not', { skip: process.platform === 'win32' && 'links need rights on Windows' }, async t => {
    const { root, folder, index } = study(t);
    await writePictures(root, ['train/a/1.png', 'val/a/2.png', 'test/a/3.png']);
    fs.symlinkSync(path.join(root, 'train'), path.join(root, 'train/a/loop'));
    fs.symlinkSync('1.png', path.join(root, 'train/a/same.png'));
    assert.deepEqual((await index()).classCounts['train'], [2]);
    await writePictures(folder, ['outside.png']);
    fs.symlinkSync(path.join(folder, 'outside.png'), path.join(root, 'train/a/out.png'));
    await refuses(index(), /"train\/a\/out\.png" leads out of the data set's folder/);
  });
});

describe('VTAB-1K lists', () => {
  async function lists(t: TestContext) {
    const made = study(t);
    await writePictures(made.root, ['images/a b.png', 'images/2.png', 'images/3.png', 'images/4.png']);
    writeText(made.root, 'train800.txt', ['images/a b.png 2', '', 'images/2.png 0']);
    writeText(made.root, 'val200.txt', ['images/3.png 1']);
    writeText(made.root, 'train800val200.txt', ['images/a b.png 2', 'images/2.png 0', 'images/3.png 1']);
    writeText(made.root, 'test.txt', ['./images/4.png 0']);
    return made;
  }

  it('reads the study\'s names, numbers as labels, spaces in paths', async t => {
    const { index } = await lists(t);
    const { dataSet, samples } = await index();
    assert.deepEqual(dataSet.classes, ['0', '1', '2']);
    assert.deepEqual(samples.map(s => [s.path, s.label, s.split]), [['images/a b.png', 2, 'train'], ['images/2.png', 0, 'train'], ['images/3.png', 1, 'validation'], ['images/4.png', 0, 'test']]);
  });

  it('takes names from classes.txt or the study, and other lists where the study says so', async t => {
    const { root, index } = await lists(t);
    writeText(root, 'classes.txt', ['zero', 'one', 'two']);
    assert.deepEqual((await index()).dataSet.classes, ['zero', 'one', 'two']);
    assert.deepEqual((await index({ classes: ['x', 'y', 'z', 'never'] })).dataSet.classes, ['x', 'y', 'z', 'never']);
    await refuses(index({ classes: ['x', 'y'] }), /the label 2 is outside 0 \.\.\. 1/, /train800\.txt:1/);
    writeText(root, 'mine.txt', ['images/2.png 1']);
    assert.deepEqual((await index({ splits: { train: 'mine', validation: 'val', test: 'test' } })).samples.map(s => s.path), ['images/2.png', 'images/3.png', 'images/4.png']);
  });

  const bad: [string, string[], RegExp[]][] = [
    ['a line without a label', ['images/2.png'], [/no label after the path "images\/2\.png"/, /train800\.txt:1/]],
    ['a file that is not there', ['images/2.png 0', 'images/9.png 1'], [/there is no file .*9\.png/, /train800\.txt:2/]],
    ['a path that climbs out', ['images/../../x.png 0'], [/leads out/, /train800\.txt:1/]],
    ['an absolute path', ['/etc/x.png 0'], [/leads out/, /train800\.txt:1/]],
    ['a Windows path', ['C:\\x.png 0'], [/leads out/, /train800\.txt:1/]],
    ['one file with two labels', ['images/2.png 0', 'images/2.png 1'], [/has the label "1" here and "0" at .*train800\.txt:1/, /train800\.txt:2/]],
    ['one file in two splits', ['images/3.png 1'], [/is in the split validation here and in train at/, /val200\.txt:1/]],
    ['an empty list', [''], [/list of the train split is empty/]],
    ['an absurd label', ['images/2.png 1999999999'], [/would make 2000000000 classes/, /train800\.txt:1/]],
  ];
  for (const [name, lines, patterns] of bad) {
    it(`refuses ${name}`, async t => {
      const { root, index } = await lists(t);
      writeText(root, 'train800.txt', lines);
      await refuses(index(), ...patterns);
    });
  }

  it('draws what is missing from the training list', async t => {
    const { root, index } = await lists(t);
    fs.rmSync(path.join(root, 'val200.txt'));
    await writePictures(root, Array.from({ length: 20 }, (_, i) => `images/more${i}.png`), 50);
    writeText(root, 'train800.txt', Array.from({ length: 20 }, (_, i) => `images/more${i}.png ${i % 2}`));
    const { classCounts, warnings } = await index();
    assert.deepEqual(classCounts, { train: [8, 8], validation: [2, 2], test: [1, 0] });
    assert.match(warnings.join('\n'), /no validation split; 4 of the 20/);
  });
});

describe('CSV', () => {
  it('reads columns in any order, quotes, a byte order mark, semicolons', async t => {
    const { root, folder, index } = study(t);
    await writePictures(root, ['1.png', '2;x.png', '3.png']);
    writeText(folder, 'set/list.csv', ['\ufefflabel;path;split;remark', 'dog;1.png;train;', 'cat;"2;x.png";val;good', 'dog;3.png;test;']);
    const { dataSet, samples } = await index({ path: 'set/list.csv' });
    assert.equal(dataSet.name, 'list');
    assert.deepEqual(dataSet.classes, ['cat', 'dog']);
    assert.deepEqual(samples.map(s => [s.path, s.label, s.split]), [['1.png', 1, 'train'], ['2;x.png', 0, 'validation'], ['3.png', 1, 'test']]);
  });

  it('orders numbers as numbers', async t => {
    const { root, index } = study(t);
    await writePictures(root, ['1.png', '2.png', '3.png']);
    writeText(root, 'list.csv', ['path,label,split', '1.png,10,train', '2.png,9,val', '3.png,10,test']);
    assert.deepEqual((await index({ path: 'set/list.csv' })).dataSet.classes, ['9', '10']);
  });

  const bad: [string, string[], RegExp[]][] = [
    ['a missing column', ['path,class', '1.png,a'], [/no column label among path, class/, /list\.csv:1/]],
    ['an unknown split', ['path,label,split', '1.png,a,train', '1.png,a,dev2'], [/split "dev2" is none of train, val, test/, /list\.csv:3/]],
    ['an empty label', ['path,label', '1.png,'], [/label is empty/, /list\.csv:2/]],
    ['a line of another length', ['path,label', '1.png,a,b'], [/list\.csv/, /as many fields/]],
    ['a header alone', ['path,label'], [/no lines below its header/]],
    ['a path that leaves', ['path,label', '..\\1.png,a'], [/leads out/, /list\.csv:2/]],
  ];
  for (const [name, lines, patterns] of bad) {
    it(`refuses ${name}`, async t => {
      const { root, index } = study(t);
      await writePictures(root, ['1.png']);
      writeText(root, 'list.csv', lines);
      await refuses(index({ path: 'set/list.csv' }), ...patterns);
    });
  }

  it('keeps the groups of a column on one side', async t => {
    const { root, index } = study(t);
    const files = Array.from({ length: 40 }, (_, i) => `${i}.png`);
    await writePictures(root, files);
    writeText(root, 'list.csv', ['path,label,patient', ...files.map((file, i) => `${file},${i % 2 ? 'ill' : 'well'},p${Math.floor(i / 4)}`)]);
    const { samples, classCounts } = await index({ path: 'set/list.csv', holdOut: { groups: 'patient' } });
    const sides = new Map<number, Set<string>>();
    for (const { path: file, split } of samples) {
      const patient = Math.floor(Number.parseInt(file, 10) / 4);
      sides.set(patient, (sides.get(patient) ?? new Set()).add(split));
    }
    for (const [patient, splits] of sides) assert.equal(splits.size, 1, `patient ${patient}`);
    assert.deepEqual(classCounts, { train: [12, 12], validation: [4, 4], test: [4, 4] });
    await refuses(index({ path: 'set/list.csv', holdOut: { groups: 'paitent' } }), /"paitent" is no column/);
  });
});

describe('groups by a pattern on the path', () => {
  it('stay on one side; what has no group, or a broken pattern, is refused', async t => {
    const { root, index } = study(t);
    await writePictures(root, Array.from({ length: 20 }, (_, i) => `a/video${i % 5}_${i}.png`));
    const { samples } = await index({ holdOut: { groups: '(video\\d+)_' } });
    for (const video of [0, 1, 2, 3, 4]) assert.equal(new Set(samples.filter(s => s.path.includes(`video${video}_`)).map(s => s.split)).size, 1);
    assert.deepEqual([...new Set(samples.map(s => s.split))].sort(), ['test', 'train', 'validation']);
    await refuses(index({ holdOut: { groups: '(clip\\d+)_' } }), /finds no group in "a\/video/);
    await refuses(index({ holdOut: { groups: '(video' } }), /holdOut\.groups/);
    await refuses(index({ holdOut: { groups: '(a)/' } }), /too few images or groups/);
  });

  it('are reported where the user\'s own splits tear them apart', async t => {
    const { root, index } = study(t);
    await writePictures(root, ['train/a/p1_1.png', 'val/a/p1_2.png', 'test/a/p2_1.png']);
    assert.match((await index({ holdOut: { groups: '(p\\d)_' } })).warnings.join('\n'), /1 of 2 groups are in more than one split \(p1: train, validation\)/);
  });
});

describe('fingerprint and ids', () => {
  it('are the same wherever the data lies, and change with content, label, split and classes', async t => {
    const files = ['train/a/1.png', 'train/b/2.png', 'val/a/3.png', 'test/b/4.png'];
    const here = study(t), there = study(t);
    await writePictures(here.root, files);
    await writePictures(there.root, files);
    const first = await here.index(), second = await there.index();
    assert.deepEqual(second.samples, first.samples);
    assert.equal(second.dataSet.fingerprint, first.dataSet.fingerprint);
    assert.equal((await here.index()).dataSet.fingerprint, first.dataSet.fingerprint, 'from remembered hashes');
    assert.notEqual((await here.index({ classes: ['b', 'a'] })).dataSet.fingerprint, first.dataSet.fingerprint, 'labels');
    await writePictures(there.root, ['train/a/1.png'], 99);
    assert.notEqual((await there.index()).dataSet.fingerprint, first.dataSet.fingerprint, 'content');
    fs.renameSync(path.join(here.root, 'val/a/3.png'), path.join(here.root, 'val/a/5.png'));
    assert.notEqual((await here.index()).dataSet.fingerprint, first.dataSet.fingerprint, 'path');
  });

  it('hash a file again when its size or time changed, and only then', async t => {
    const { root, folder, index } = study(t);
    await writePictures(root, ['train/a/1.png', 'val/a/2.png', 'test/a/3.png']);
    const file = path.join(root, 'train/a/1.png'), past = new Date('2020-01-01');
    fs.utimesSync(file, past, past);
    const before = (await index()).dataSet.fingerprint;
    const bytes = fs.readFileSync(file);
    bytes[bytes.length - 1]! ^= 1;
    fs.writeFileSync(file, bytes);
    fs.utimesSync(file, past, past);
    assert.equal((await index()).dataSet.fingerprint, before, 'remembered by size and time');
    fs.utimesSync(file, past, new Date('2020-01-02'));
    assert.notEqual((await index()).dataSet.fingerprint, before);
    fs.readdirSync(path.join(folder, 'cache/content-hashes')).forEach(name => fs.writeFileSync(path.join(folder, 'cache/content-hashes', name), '{"torn'));
    assert.ok(await index());
  });
});

describe('extra test sets', () => {
  it('share the classes and keep their own root', async t => {
    const { root, folder, index } = study(t);
    await writePictures(root, ['train/a/1.png', 'train/b/2.png', 'val/a/3.png', 'test/b/4.png']);
    await writePictures(path.join(folder, 'shifted'), ['test/b/1.png', 'val/a/9.png'], 50);
    const extra = [{ name: 'shift', path: 'shifted', format: 'auto' as const, split: 'test' }];
    const { dataSet, samples, classCounts } = await index({}, { extra });
    assert.deepEqual(dataSet.extraRoots, { shift: path.join(folder, 'shifted') });
    assert.deepEqual(samples.filter(s => s.split === 'extra/shift').map(s => [s.path, s.label]), [['test/b/1.png', 1]]);
    assert.deepEqual(classCounts['extra/shift'], [0, 1]);
    assert.equal(new Set(samples.map(s => s.id)).size, samples.length);
    await writePictures(path.join(folder, 'shifted'), ['test/c/1.png'], 60);
    await refuses(index({}, { extra }), /class "c" is not among the 2 classes/);
  });
});

describe('images to predict', () => {
  it('are all images of a folder, or one split in listed order', async t => {
    const { root } = study(t);
    await writePictures(root, ['z.png', 'b/a.png', 'test/dog/1.png', 'test/cat/2.png']);
    assert.deepEqual((await indexUnlabelled(root)).map(s => [s.path, s.label]), [['b/a.png', -1], ['test/cat/2.png', -1], ['test/dog/1.png', -1], ['z.png', -1]]);
    assert.deepEqual((await indexSplit({ root, split: 'test' })).map(s => [s.path, s.label]), [['test/cat/2.png', 0], ['test/dog/1.png', 1]]);
    assert.deepEqual((await indexSplit({ root, split: 'test', classes: ['dog', 'cat'] })).map(s => s.label), [1, 0]);
    writeText(root, 'some.txt', ['z.png 3', 'b/a.png', 'z.png 3']);
    assert.deepEqual((await indexSplit({ root, split: 'some' })).map(s => [s.path, s.label]), [['z.png', 3], ['b/a.png', -1], ['z.png', 3]]);
    await refuses(indexSplit({ root, split: 'none' }), /neither a list none\.txt nor a folder none/);
    await refuses(indexSplit({ root, split: '../set' }), /leads out/);
    fs.mkdirSync(path.join(root, 'void'));
    await refuses(indexUnlabelled(path.join(root, 'void')), /no images found/);
  });
});

describe('real data', () => {
  const shared = path.resolve(process.cwd(), '../shared/data');
  it('has the sizes that its page states', async t => {
    if (!fs.existsSync(shared)) return t.skip('../shared is not here');
    const cacheFolder = temporaryFolder(t), sum = (counts: number[]) => counts.reduce((a, b) => a + b, 0);
    for (const [name, classes, ...sizes] of [['signdigits', 10, 800, 200, 500], ['caltech101', 101, 808, 202, 505], ['clothing', 10, 800, 200, 372]] as const) {
      const { dataSet, classCounts } = await indexDataSet(spec({ path: name }), { folder: shared, cacheFolder });
      assert.deepEqual([dataSet.classes.length, ...['train', 'validation', 'test'].map(split => sum(classCounts[split]!))], [classes, ...sizes], name);
    }
  });
});
