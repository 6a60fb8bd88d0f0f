/** import, export and diff through the real command line. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import sharp from 'sharp';
import { openSafetensors, writeSafetensors } from '../../../src/interop/safetensors';
import { storePaths, trialPaths } from '../../../src/store/paths';
import { readStoredStudy } from '../../../src/store/study-store';
import { makeTinyStudy } from '../../fixtures/tiny-study';

const fixtures = path.resolve('test/fixtures/peft');
const backbone = path.join(fixtures, 'backbone.safetensors');

describe('peft-lab import, export and diff', () => {
  it('takes an adapter of PEFT, with and without its backbone, and predicts with both alike', async t => {
    const study = await makeTinyStudy(t);
    const known = await study.call(['import', path.join(fixtures, 'timm-lora'), '--out', 'known', '--backbone', backbone, '--classes', 'cat,dog,owl', '--json']);
    assert.equal(known.code, 0, known.stderr);
    const document = JSON.parse(known.stdout) as { method: { id: string; options: Record<string, unknown> }; classes: string[]; certificate: { reload: number; merge: number } };
    assert.deepEqual([document.method.id, document.method.options['rank'], document.method.options['alpha'], document.classes], ['lora', 4, 8, ['cat', 'dog', 'owl']]);
    assert.ok(document.certificate.reload === 0 && document.certificate.merge < 1e-5);

    const unknown = await study.call(['import', path.join(fixtures, 'timm-lora'), '--out', 'unknown']);
    assert.equal(unknown.code, 0, unknown.stderr);
    assert.match(unknown.stderr, /its shape is a guess: 2 blocks of width 32/);
    fs.mkdirSync(path.join(study.root, 'pictures'));
    for (const shade of [20, 200]) await sharp({ create: { width: 16, height: 16, channels: 3, background: { r: shade, g: 90, b: 250 - shade } } }).png().toFile(path.join(study.root, `pictures/${shade}.png`));
    const logits: number[][] = [];
    for (const adapter of ['known', 'unknown']) {
      const end = await study.call(['predict', '--backbone', backbone, '--adapter', adapter, '--data', 'pictures', '--normalize', '0.5', '--engine', 'cpu', '--out', `${adapter}.safetensors`]);
      assert.equal(end.code, 0, end.stderr);
      assert.equal(end.stderr.includes('does not say which weights'), adapter === 'unknown');
      const file = await openSafetensors(path.join(study.root, `${adapter}.safetensors`));
      logits.push([...await file.read('logits')]);
      await file.close();
    }
    assert.deepEqual(logits[0], logits[1]);

    const { tensors, heads } = await partsOf(backbone);
    await writeSafetensors(path.join(study.root, 'bare.safetensors'), tensors, { heads });
    const bare = ['--backbone', 'bare.safetensors'];
    for (const args of [['diff', 'unknown', 'unknown', ...bare], ['predict', ...bare, '--adapter', 'unknown', '--data', 'pictures', '--engine', 'cpu', '--out', 'bare.csv']]) {
      const end = await study.call(args);
      assert.equal(end.code, 0, end.stderr);
      assert.match(end.stderr, /^Warning: bare\.safetensors does not say everything about its architecture/m);
    }
  });

  it('exports a trial\'s adapter in every form, and compares it with another', async t => {
    const study = await makeTinyStudy(t);
    study.write({ methods: [{ method: 'lora', options: { rank: { search: [1, 2] } } }] });
    assert.equal((await study.call(['run', 'tiny.peft.json'])).code, 0);
    const [a, b] = readStoredStudy(study.store)!.trials.map(id => trialPaths(storePaths(study.store).trial(id)).adapter) as [string, string];
    const exported = async (...args: string[]) => {
      const end = await study.call(['export', a, ...args, '--json']);
      assert.equal(end.code, 0, end.stderr);
      return (JSON.parse(end.stdout) as { files: string[]; out: string }).files.sort();
    };
    assert.deepEqual(await exported('--format', 'peft', '--dialect', 'hf', '--out', 'x/peft'), ['README.md', 'adapter_config.json', 'adapter_model.safetensors']);
    assert.match(fs.readFileSync(path.join(study.root, 'x/peft/README.md'), 'utf8'), /PeftModel\.from_pretrained[^]*Classes, in the order of the outputs: bright, dark, grey/);
    assert.deepEqual(await exported('--format', 'merged', '--backbone', 'tiny.safetensors', '--out', 'x/merged'), ['README.md', 'config.json', 'model.safetensors']);
    assert.deepEqual(await exported('--format', 'onnx', '--backbone', 'tiny.safetensors', '--input', 'uint8-nhwc', '--out', 'x/onnx'), ['model.onnx']);
    assert.ok(fs.statSync(path.join(study.root, 'x/onnx/model.onnx')).size > 10_000);

    const table = await study.call(['diff', a, b, '--backbone', 'tiny.safetensors']);
    assert.equal(table.code, 0, table.stderr);
    assert.match(table.stdout, /^A: lora \{"rank":1[^]*weight +norm A +norm B[^]*blocks\.0\.attn\.qkv\.weight +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +1\.0 +\d\.\d +\d+\.\d$/m);
    const json = JSON.parse((await study.call(['diff', a, b, '--json'])).stdout) as { compared: string; reason: string };
    assert.deepEqual([json.compared, json.reason], ['tensors', 'without a backbone nothing can be folded']);
  });

  it('refuses what makes no sense, with exit code 2 and the reason', async t => {
    const study = await makeTinyStudy(t);
    fs.mkdirSync(path.join(study.root, 'empty'));
    const lora = path.join(fixtures, 'timm-lora');
    const wrong: [args: string[], message: RegExp][] = [
      [['import', 'empty', '--out', 'x'], /neither an adapter_config\.json/],
      [['import', 'none', '--out', 'x'], /there is no such folder/],
      [['import', lora], /--out is missing/],
      [['import', lora, '--out', lora], /written over what it is made of/],
      [['import', lora, '--out', 'x', '--classes', 'a,b'], /2 class names are given, and the classifier has 3 outputs/],
      [['import', lora, '--out', 'x', '--classes', 'a,a,b'], /a class name is there twice/],
      [['import', lora, '--out', 'x', '--backbone', 'tiny.safetensors'], /nothing says how many attention heads|lora_A is|--backbone/],
      [['export', 'empty', '--format', 'peft', '--out', 'x'], /there is no adapter here/],
      [['export', 'empty', '--format', 'gguf', '--out', 'x'], /"gguf" is not allowed/],
      [['export', 'empty', '--format', 'study', '--dialect', 'hf', '--out', 'x'], /--dialect: it has no meaning for the format study/],
      [['diff', 'empty', 'empty'], /there is no adapter here/],
    ];
    for (const [args, message] of wrong) {
      const end = await study.call(args);
      assert.equal(end.code, 2, `${args.join(' ')}: ${end.stderr}`);
      assert.match(end.stderr, message);
    }
    assert.equal(fs.existsSync(path.join(study.root, 'x')), false);
  });
});

async function partsOf(file: string) {
  const opened = await openSafetensors(file);
  try {
    const entries = await Promise.all([...opened.tensors].map(async ([name, { shape }]) => [name, { shape, data: await opened.read(name) as Float32Array }] as const));
    return { tensors: Object.fromEntries(entries), heads: opened.metadata['heads']! };
  } finally {
    await opened.close();
  }
}
