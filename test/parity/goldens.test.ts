/** Every method, in its variants, against numbers that PyTorch made of its equations (tools/goldens.py), on every engine. */
import '../fixtures/uncompiled';
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findMethod, methods, parseMethodOptions } from '../../src/peft/registry';
import { foldAdapter } from '../../src/peft/fold';
import type { HostTensors } from '../../src/engine/program';
import type { Method } from '../../src/peft/method';
import { frozenTensors, prepareModel, type Model } from '../../src/train/model';
import { evaluationProgram } from '../../src/train/program';
import { engines } from '../../src/engine/engines';
import { engineIds, engineOrSkip } from '../fixtures/engines';
import { goldenClasses, goldenNames, readGolden, type Golden } from '../fixtures/goldens';
import { checkParity, largestDifference } from '../fixtures/parity';

for (const name of goldenNames) {
  describe(`golden ${name}`, () => {
    for (const engineId of engineIds) {
      it(`on ${engineId}`, async t => {
        const engine = await engineOrSkip(t, engineId);
        if (!engine) return;
        const golden = await readGolden(name);
        const { backbone, start, expected } = golden;
        await checkParity(t, { engine, model: await modelOf(golden), backbone: backbone.tensors, start, batch: backbone.batch, expected });
      });
    }

    it('folded into the backbone: the same logits, or refused', async () => {
      const golden = await readGolden(name), { backbone: { architecture, tensors }, start } = golden;
      const { method, options } = await modelOf(golden);
      const fold = () => foldAdapter({ method, options, architecture, base: tensors, trained: start });
      if (!isFoldable(golden, method, options)) return assert.throws(fold, /cannot be folded into the backbone/);
      const plain = await prepareModel({ ...await modelOf(golden), method: findMethod('linear'), options: parseMethodOptions('linear', {}) });
      const off = largestDifference(await logitsOf(plain, fold(), golden), golden.expected.logits.data);
      assert.ok(off <= 1e-5, `off by ${off}`);
    });
  });
}

it('every method has its golden numbers', async () => {
  const covered = new Set((await Promise.all(goldenNames.map(readGolden))).map(({ method }) => method));
  assert.deepEqual(Object.keys(methods).filter(id => !covered.has(id)), []);
});

function modelOf({ method, options, backbone: { architecture, batch } }: Golden): Promise<Model> {
  return prepareModel({
    architecture, method: findMethod(method), options: parseMethodOptions(method, options), classes: goldenClasses,
    batch: batch.labels.length, dropPath: 0, dropout: false,
  });
}

/** By its own word: it adds nothing, or its fold gives values and no reason. */
function isFoldable({ backbone: { architecture, tensors }, start }: Golden, { fold, act, tensors: added }: Method, options: Record<string, unknown>): boolean {
  const values = (from: HostTensors) => (name: string) => from[name]!.data as Float32Array;
  if (!fold) return !act && !added;
  return typeof fold({ architecture, base: values({ ...tensors, ...start }), trained: values(start) }, options) !== 'string';
}

async function logitsOf(model: Model, folded: HostTensors, { backbone }: Golden): Promise<ArrayLike<number>> {
  const state = Object.fromEntries(Object.entries(folded).filter(([name]) => name.startsWith('head.')));
  const session = await engines.cpu.open({ programs: { evaluate: evaluationProgram(model) }, state, constants: frozenTensors(model, folded), threads: 1 });
  try {
    return (await session.call('evaluate', { patches: backbone.batch.patches }))['logits']!.data;
  } finally {
    await session.dispose();
  }
}
