/** What is left of a trained adapter computes what the whole one did. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { engines } from '../../../src/engine/engines';
import type { HostTensors } from '../../../src/engine/program';
import { condense } from '../../../src/peft/condense';
import { initialize } from '../../../src/peft/initialize';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import { frozenTensors, prepareModel, type Model } from '../../../src/train/model';
import { evaluationProgram } from '../../../src/train/program';
import { goldenClasses, readGolden } from '../../fixtures/goldens';
import { tinyArchitecture, tinyBackbone, tinyBatch } from '../../fixtures/tiny-vit';

const classes = 3, batch = 4;
const base = tinyBackbone();

describe('condense', () => {
  it('keeps the keys and values that a prefix network made: 2 L n D numbers that PyTorch\'s logits follow from', async () => {
    const { options, start, backbone, expected } = await readGolden('kv-prefix-network');
    const { architecture } = backbone;
    const whole = await modelOf('kv-prefix', options, { architecture, classes: goldenClasses, batch: backbone.batch.labels.length });
    const kept = condense({ ...whole, tensors: start });
    const shape = [architecture.depth, options['prompts'], architecture.width];
    assert.deepEqual(kept.options, { prompts: options['prompts'], reparametrization: null, condense: true });
    assert.deepEqual(Object.fromEntries(Object.entries(kept.tensors).map(([name, { shape }]) => [name, shape])), {
      'kv_prefix.key': shape, 'kv_prefix.value': shape, 'head.weight': start['head.weight']!.shape, 'head.bias': start['head.bias']!.shape,
    });
    const off = largestDifference(await logitsOf({ ...whole, options: kept.options }, kept.tensors, backbone.batch.patches, backbone.tensors), expected.logits.data);
    assert.ok(off <= 1e-5, `off by ${off}`);
  });

  it('keeps the network where the options say so, and everything of methods that have nothing to leave out', async () => {
    for (const [id, options] of [['kv-prefix', { prompts: 2, reparametrization: 3, condense: false }], ['kv-prefix', { prompts: 2 }], ['lora', {}]] as const) {
      const model = await modelOf(id, options);
      const tensors = randomized(model);
      const kept = condense({ ...model, tensors });
      assert.equal(kept.tensors, tensors);
      assert.equal(kept.options, model.options);
    }
  });

  it('leaves the other methods of a combination as they are', async () => {
    const model = await modelOf('lora+kv-prefix', { 'lora': { rank: 2 }, 'kv-prefix': { prompts: 2, reparametrization: 3 } });
    const tensors = randomized(model);
    const kept = condense({ ...model, tensors });
    const smaller = await modelOf('lora+kv-prefix', kept.options);
    assert.deepEqual(Object.keys(kept.tensors).sort(), smaller.tensors.map(({ name }) => name).sort());
    assert.equal(kept.tensors['blocks.0.attn.lora.lora_a.weight'], tensors['blocks.0.attn.lora.lora_a.weight']);
    const { patches } = tinyBatch(batch, classes);
    const off = largestDifference(await logitsOf(smaller, kept.tensors, patches, base), await logitsOf(model, tensors, patches, base));
    assert.ok(off <= 1e-5, `off by ${off}`);
  });
});

async function modelOf(id: string, options: Record<string, unknown>, changes: Partial<Pick<Model, 'architecture' | 'classes' | 'batch'>> = {}): Promise<Model> {
  return prepareModel({ architecture: tinyArchitecture, method: findMethod(id), options: parseMethodOptions(id, options), classes, batch, dropPath: 0, dropout: false, ...changes });
}

function randomized(model: Model): HostTensors {
  return initialize(model.tensors.map(({ name, shape }) => ({ name, shape, source: 'added', initial: { kind: 'normal', std: 0.3 } })), { base, seed: 4 });
}

async function logitsOf(model: Model, state: HostTensors, patches: HostTensors[string], backbone: HostTensors): Promise<ArrayLike<number>> {
  const session = await engines.cpu.open({ programs: { evaluate: evaluationProgram(model) }, state, constants: frozenTensors(model, backbone), threads: 1 });
  try {
    return (await session.call('evaluate', { patches }))['logits']!.data;
  } finally {
    await session.dispose();
  }
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);
}
