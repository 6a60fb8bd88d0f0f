/** Methods trained together, through the command line: planned, counted, trained, reported, and used to predict. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';
import { makeTinyStudy } from '../../fixtures/tiny-study';

it('plans, trains, reports and predicts with methods that are trained together', { timeout: 120_000 }, async t => {
  const study = await makeTinyStudy(t);
  study.write({
    methods: [
      ['ssf', { method: 'lora', options: { rank: { search: [2] } } }],
      { methods: ['bitfit', { method: 'vpt-deep', options: { prompts: 2 } }], name: 'biases and prompts' },
    ],
    recipe: { epochs: 1, batchSize: 8, warmupEpochs: 0, learningRate: 0.01, normalization: '0.5' },
  });
  const plan = JSON.parse(await ok(study.call(['plan', study.file, '--json']))) as { trials: { id: string; label: string; method: string; parameters: { trainable: number } }[] };
  assert.deepEqual(plan.trials.map(({ label }) => label), ['ssf+lora lora.rank=2', 'biases and prompts']);
  const counted = JSON.parse(await ok(study.call([
    'count', '--arch', 'deit_tiny_patch16_224', '--method', 'ssf+lora', '--options', '{"lora":{"rank":2}}', '--json',
  ]))) as { trainable: number };
  assert.equal(counted.trainable, 51_456 + 18_432);

  await ok(study.call(['run', study.file]));
  const report = await ok(study.call(['report', study.file, '--json']));
  for (const { label } of plan.trials) assert.ok(report.includes(label), label);

  const adapter = path.join(study.store, 'trials', plan.trials[0]!.id, 'adapter');
  const manifest = JSON.parse(fs.readFileSync(path.join(adapter, 'manifest.json'), 'utf8')) as { method: { id: string; options: Record<string, { rank?: number }> } };
  assert.equal(manifest.method.id, 'ssf+lora');
  assert.equal(manifest.method.options['lora']!.rank, 2);
  const predictions = path.join(study.root, 'predictions.csv');
  await ok(study.call(['predict', '--backbone', path.join(study.root, 'tiny.safetensors'), '--adapter', adapter, '--data', path.join(study.root, 'images'), '--engine', 'cpu', '--out', predictions]));
  assert.match(fs.readFileSync(predictions, 'utf8'), /^path,/);
});

it('refuses what cannot be trained together, with place and reason', async t => {
  const study = await makeTinyStudy(t);
  study.write({ methods: [['vpt-shallow', 'vpt-deep']] });
  const clash = await study.call(['plan', study.file]);
  assert.equal(clash.code, 2);
  assert.match(clash.stderr, /has two tensors with the name 'vpt\.prompt_embeddings'/);
  study.write({ methods: ['linear', ['lora', 'full']] });
  const whole = await study.call(['plan', study.file]);
  assert.equal(whole.code, 2);
  assert.match(whole.stderr, /tiny\.peft\.json:\d+:\d+: methods\[1\]: Full fine-tuning trains the whole backbone/);
});

async function ok(call: Promise<{ code: number | null; stdout: string; stderr: string }>): Promise<string> {
  const { code, stdout, stderr } = await call;
  assert.equal(code, 0, stderr);
  return stdout;
}
