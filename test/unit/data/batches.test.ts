import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import sharp from 'sharp';
import { UserError } from '../../../src/common/errors';
import { fillKeepMask, streamKey } from '../../../src/common/random';
import type { Sample } from '../../../src/common/trial';
import { openBatches, type Batch, type BatchOptions, type Batches, type TrainingPlan } from '../../../src/data/batches';
import { decodeFile } from '../../../src/data/decode';
import { patchify } from '../../../src/data/patchify';
import { fit } from '../../../src/data/transforms';
import { temporaryFolder, writePictures } from './pictures';

const normalization = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] } satisfies BatchOptions['normalization'];
const toSamples = (files: readonly string[]): Sample[] => files.map((file, i) => ({ id: file, path: file, label: i % 3, split: 'train' }));

/** Ten pictures, one of them with a name that is not ASCII and two of one content. */
async function setUp(t: TestContext, changes: Partial<BatchOptions> = {}) {
  const opened: Batches[] = [];
  t.after(() => Promise.all(opened.map(batches => batches.close()))); // before the folder goes: Windows keeps open files
  const root = temporaryFolder(t), cacheFolder = path.join(root, '.cache');
  const files = ['größe 测试.png', ...Array.from({ length: 8 }, (_, i) => `${i}.png`), 'twin.png'];
  await writePictures(root, files);
  fs.copyFileSync(path.join(root, '3.png'), path.join(root, 'twin.png'));
  const options: BatchOptions = {
    root, samples: toSamples(files), imageSize: 8, patch: 4, normalization, resize: 'stretch', augmentation: [], cacheFolder, onBadImage: 'stop', seed: 7, ...changes,
  };
  const open = async (more: Partial<BatchOptions> = {}) => {
    const batches = await openBatches({ ...options, ...more });
    opened.push(batches);
    return batches;
  };
  return { root, cacheFolder, files, options, open };
}

const plan = (changes: Partial<TrainingPlan> = {}): TrainingPlan => ({ firstStep: 0, lastStep: 6, batchSize: 4, shuffle: true, dropLast: false, masks: [], ...changes });

/** Copies, since a batch's memory is used again. */
async function collect(stream: AsyncIterable<Batch>): Promise<Batch[]> {
  const all: Batch[] = [];
  for await (const batch of stream) all.push({ ...batch, patches: batch.patches.slice(), masks: Object.fromEntries(Object.entries(batch.masks).map(([k, v]) => [k, v.slice()])) });
  return all;
}

const order = async (batches: Batches, changes?: Partial<TrainingPlan>) => (await collect(batches.training(plan(changes)))).map(batch => [...batch.indices]);
const segments = (cacheFolder: string) => fs.readdirSync(path.join(cacheFolder, 'images'), { recursive: true }).map(String).filter(name => name.endsWith('.segment')).map(name => path.join(cacheFolder, 'images', name));

describe('batches', () => {
  it('hold what decoding, fitting and patchifying give, padded with zeros', async t => {
    const { root, files, open } = await setUp(t);
    const [first, , last, ...more] = await collect((await open()).inOrder({ batchSize: 4 }));
    assert.equal(more.length, 0);
    const squares = await Promise.all(files.map(async file => fit(await decodeFile(path.join(root, file)), { imageSize: 8, mode: 'stretch' }).data));
    const layout = { imageSize: 8, patch: 4, batch: 4, normalization };
    assert.deepEqual(first!.patches, patchify(Buffer.concat(squares.slice(0, 4)), layout));
    assert.deepEqual([...first!.indices, ...first!.labels], [0, 1, 2, 3, 0, 1, 2, 0]);
    assert.deepEqual([last!.step, last!.epoch, last!.count, ...last!.indices, ...last!.labels], [2, 0, 2, 8, 9, -1, -1, 2, 0, -1, -1]);
    const padded = patchify(Buffer.concat([...squares.slice(8), new Uint8Array(2 * 192)]), layout);
    for (let row = 0; row < 16; row++) if (row % 4 > 1) padded.fill(0, row * 48, (row + 1) * 48);
    assert.deepEqual(last!.patches, padded);
  });

  it('show every sample once an epoch, in another order each time', async t => {
    const batches = await (await setUp(t)).open();
    assert.deepEqual([batches.stepsPerEpoch(4, false), batches.stepsPerEpoch(4, true)], [3, 2]);
    const all = await order(batches, { lastStep: 6 });
    const epochs = [all.slice(0, 3).flat(), all.slice(3).flat()];
    for (const epoch of epochs) assert.deepEqual(epoch.filter(i => i >= 0).sort((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.notDeepEqual(epochs[0], epochs[1]);
    assert.deepEqual(await order(batches, { shuffle: false, lastStep: 4 }), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1], [0, 1, 2, 3]]);
    assert.ok((await order(batches, { dropLast: true, lastStep: 4 })).every(indices => !indices.includes(-1)));
  });

  it('can start at any step and give the same bits', async t => {
    const { open } = await setUp(t, { augmentation: ['random-resized-crop', 'horizontal-flip', 'vertical-flip'] });
    const masks = [{ name: 'dropout.a', shape: [5, 7], rate: 0.3 }, { name: 'dropout.b', shape: [3], rate: 0.5 }];
    const batches = await open();
    const whole = await collect(batches.training(plan({ lastStep: 9, masks })));
    assert.deepEqual(whole.map(batch => [batch.step, batch.epoch]), [0, 1, 2, 3, 4, 5, 6, 7, 8].map(step => [step, Math.floor(step / 3)]));
    assert.deepEqual(await collect(batches.training(plan({ firstStep: 4, lastStep: 9, masks }))), whole.slice(4));
    assert.deepEqual(await collect((await open()).training(plan({ firstStep: 7, lastStep: 9, masks }))), whole.slice(7), 'another loader');
    assert.notDeepEqual((await collect((await open({ seed: 8 })).training(plan({ lastStep: 1 }))))[0]!.patches, whole[0]!.patches);
    const mask = new Uint8Array(35);
    fillKeepMask(mask, 0.3, streamKey(7, 'mask', 'dropout.a', 5));
    assert.deepEqual(whole[5]!.masks['dropout.a'], mask);
  });

  it('augment in training only', async t => {
    const augmented = await (await setUp(t, { augmentation: ['random-resized-crop'] })).open();
    const plain = await (await setUp(t)).open();
    assert.deepEqual(await collect(augmented.inOrder({ batchSize: 10 })), await collect(plain.inOrder({ batchSize: 10 })));
    const [a, b] = await collect(augmented.training(plan({ shuffle: false, batchSize: 10, lastStep: 2 })));
    assert.notDeepEqual(a!.patches, b!.patches);
  });

  it('refuse a batch that the images do not fill', async t => {
    const batches = await (await setUp(t)).open();
    assert.throws(() => batches.training(plan({ batchSize: 11, dropLast: true })), /10 images do not fill one batch of 11/);
    await assert.rejects(openBatches({ ...(await setUp(t)).options, samples: [] }), /no images to load/);
  });
});

describe('bad images', () => {
  async function withBad(t: TestContext) {
    const made = await setUp(t);
    fs.writeFileSync(path.join(made.root, '2.png'), 'no image');
    fs.writeFileSync(path.join(made.root, '5.png'), '');
    fs.rmSync(path.join(made.root, '6.png'));
    return made;
  }

  it('stop the study with their path', async t => {
    const { root, open } = await withBad(t);
    await assert.rejects(open(), error => error instanceof UserError && [2, 5, 6].some(i => error.where === path.join(root, `${i}.png`)));
  });

  it('are skipped, named and counted where the study says so', async t => {
    const { open, files } = await withBad(t);
    const batches = await open({ onBadImage: 'skip' });
    assert.deepEqual(batches.skipped.map(one => one.path).sort(), ['2.png', '5.png', '6.png']);
    assert.match(batches.skipped.find(one => one.path === '5.png')!.reason, /empty/);
    assert.deepEqual(batches.usable.map(sample => sample.path), files.filter(file => !/^[256]\.png$/.test(file)));
    const [batch] = await collect(batches.inOrder({ batchSize: 8 }));
    assert.deepEqual([...batch!.labels], [...batches.usable.map(sample => sample.label), -1]);
  });

  it('include shapes that cropping would blow up', async t => {
    const { root, open } = await setUp(t);
    await sharp({ create: { width: 9000, height: 1, channels: 3, background: 'red' } }).png().toFile(path.join(root, '4.png'));
    await assert.rejects(open({ resize: 'crop' }), /4\.png: 9000 x 1 pixels are too long a shape to be cropped/);
    assert.equal((await open({ resize: 'crop', onBadImage: 'skip' })).skipped.length, 1);
    assert.equal((await open()).skipped.length, 0);
  });

  it('are an error when none is left', async t => {
    const { root, files, open } = await setUp(t);
    for (const file of files) fs.writeFileSync(path.join(root, file), 'no image');
    await assert.rejects(open({ onBadImage: 'skip' }), /none of the images can be used/);
  });
});

describe('the cache of decoded images', () => {
  it('decodes each content once, reports progress, and is used by the next run', async t => {
    const { root, files, cacheFolder, open } = await setUp(t);
    const past = new Date('2020-01-01');
    for (const file of files) fs.utimesSync(path.join(root, file), past, past);
    const progress: [number, number][] = [];
    const before = await collect((await open({ onProgress: (done, total) => progress.push([done, total]) })).inOrder({ batchSize: 10 }));
    assert.deepEqual(progress.at(-1), [9, 9], 'nine contents of ten files');
    assert.equal(segments(cacheFolder).length, 1);
    for (const file of files) {
      const size = fs.statSync(path.join(root, file)).size;
      fs.writeFileSync(path.join(root, file), Buffer.alloc(size));
      fs.utimesSync(path.join(root, file), past, past);
    }
    assert.deepEqual(await collect((await open()).inOrder({ batchSize: 10 })), before);
    await assert.rejects(open({ imageSize: 16 }), UserError, 'another size is decoded anew');
  });

  const damages: [string, (bytes: Buffer) => Buffer][] = [
    ['a flipped pixel', bytes => { bytes[100]! ^= 1; return bytes; }],
    ['a flipped bit in the index', bytes => { bytes[bytes.length - 40]! ^= 1; return bytes; }],
    ['a flipped bit in the footer', bytes => { bytes[bytes.length - 6]! ^= 1; return bytes; }],
    ['a truncated file', bytes => bytes.subarray(0, 200)],
    ['an empty file', () => Buffer.alloc(0)],
    ['zeros', bytes => Buffer.alloc(bytes.length)],
  ];
  for (const [name, damage] of damages) {
    it(`survives ${name}`, async t => {
      const { cacheFolder, open } = await setUp(t);
      const before = await collect((await open()).inOrder({ batchSize: 10 }));
      const [file] = segments(cacheFolder);
      fs.writeFileSync(file!, damage(fs.readFileSync(file!)));
      assert.deepEqual(await collect((await open()).inOrder({ batchSize: 10 })), before);
    });
  }

  it('that vanishes while it is used is replaced by decoding', async t => {
    const { cacheFolder, open } = await setUp(t);
    const batches = await open();
    fs.rmSync(cacheFolder, { recursive: true });
    const [batch] = await collect(batches.inOrder({ batchSize: 10 }));
    assert.deepEqual([...batch!.indices], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.ok(batch!.patches.some(value => value !== 0));
  });

  it('may be filled by several at once', async t => {
    const { open } = await setUp(t);
    const all = await Promise.all([open(), open(), open()]);
    const [a, b, c] = await Promise.all(all.map(batches => collect(batches.inOrder({ batchSize: 10 }))));
    assert.deepEqual(b, a);
    assert.deepEqual(c, a);
  });

  it('does not keep originals that are too large, and decodes them each time', async t => {
    const { cacheFolder, open } = await setUp(t, { augmentation: ['horizontal-flip'], imageSize: 2, patch: 1 });
    const batches = await open(); // 8 x 6 originals are more than 8 squares of 2 x 2
    assert.ok(fs.statSync(segments(cacheFolder)[0]!).size < 1200, 'an index alone');
    assert.equal((await collect(batches.training(plan({ lastStep: 3 })))).length, 3);
  });

  it('says where it cannot be written', async t => {
    const { root, open } = await setUp(t);
    fs.writeFileSync(path.join(root, 'file'), '');
    await assert.rejects(open({ cacheFolder: path.join(root, 'file', 'cache') }), error => error instanceof UserError && /cannot be written/.test(error.what));
  });
});

describe('the loader\'s thread', () => {
  it('goes on after a stream was left early, and serves two at once', async t => {
    const batches = await (await setUp(t)).open();
    for await (const batch of batches.training(plan({ lastStep: 3000 }))) if (batch.step === 2) break;
    const training = batches.training(plan({ lastStep: 300 }));
    await training.next();
    assert.equal((await collect(batches.inOrder({ batchSize: 4 }))).length, 3);
    const { value } = await training.next() as { value: Batch };
    assert.equal(value.step, 1);
    await training.return!();
  });

  it('works ahead while the engine blocks the main thread', async t => {
    const { open } = await setUp(t, { augmentation: ['random-resized-crop'], imageSize: 160, patch: 16 });
    const batches = await open();
    const stream = batches.training(plan({ lastStep: 1000, batchSize: 10 }));
    const waits = async (count: number, blockedMs: number) => {
      const all: number[] = [];
      for (let i = 0; i < count; i++) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, blockedMs); // as a native call does
        const start = performance.now();
        await stream.next();
        all.push(performance.now() - start);
      }
      return all.sort((a, b) => a - b)[count >> 1]!;
    };
    await waits(4, 0); // what was made ahead, and warming up
    const making = await waits(9, 0);
    const waiting = await waits(9, 5 * making);
    await stream.return!();
    assert.ok(waiting < making / 2, `waits ${waiting.toFixed(1)} ms for what takes ${making.toFixed(1)} ms to make`);
  });

  it('ends every wait when it is closed', async t => {
    const batches = await (await setUp(t)).open();
    const stream = batches.training(plan({ lastStep: 1e6 }));
    await stream.next();
    await batches.close();
    await assert.rejects(async () => { for (;;) if ((await stream.next()).done) return; }, /closed/);
    await assert.rejects(batches.inOrder({ batchSize: 4 }).next(), /closed/);
  });

  it('ends every wait when it dies', async t => {
    const { options } = await setUp(t);
    const here = process.cwd();
    t.after(() => process.chdir(here));
    const folder = temporaryFolder(t);
    fs.mkdirSync(path.join(folder, 'dist'));
    process.chdir(folder);
    const script = (text: string) => fs.writeFileSync(path.join(folder, 'dist/batch-loader.cjs'), text);
    script('process.exit(3)');
    await assert.rejects(openBatches(options), /thread exited with code 3/);
    script('throw new Error("broken loader")');
    await assert.rejects(openBatches(options), /broken loader/);
    script(`const { parentPort } = require('node:worker_threads');
      parentPort.postMessage({ type: 'ready', usable: [0], skipped: [] });
      parentPort.on('message', () => process.exit(4));`);
    const batches = await openBatches(options);
    await assert.rejects(batches.inOrder({ batchSize: 1 }).next(), /thread exited with code 4/);
  });
});
