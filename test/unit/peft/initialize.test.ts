import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { initialize } from '../../../src/peft/initialize';
import { collectMasks } from '../../../src/peft/masks';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import { trainableTensors } from '../../../src/peft/trainable';
import { presets } from '../../../src/vit/presets';
import { tinyArchitecture, tinyBackbone } from '../../fixtures/tiny-vit';

const tiny = presets['deit_tiny_patch16_224']!;

describe('initialize', () => {
  it('starts the study\'s tensors with the statistics measured on its code (init_actual.json)', () => {
    const lora = draw('lora', { rank: 8 });
    for (const factor of ['a', 'b']) {
      const values = Object.entries(lora).filter(([name]) => name.endsWith(`lora_${factor}.weight`)).flatMap(([, { data }]) => [...data]);
      near(deviation(values), 0.02, 3e-4);
    }
    const prompts = [...draw('vpt-deep', { prompts: 5 })['vpt.prompt_embeddings']!.data];
    near(Math.max(...prompts), 0.0790569, 1e-4); // sqrt(6 / (3 * 16^2 + 192))
    near(deviation(prompts), 0.0790569 / Math.sqrt(3), 6e-4);
    const head = [...lora['head.weight']!.data, ...lora['head.bias']!.data];
    near(Math.max(...head), 1 / Math.sqrt(192), 1e-3);
    const adapter = draw('adaptformer', { bottleneck: 8 });
    assert.ok(adapter['blocks.3.ft_mlp_module.down_proj.bias']!.data.every(x => x === 0));
    near(deviation([...adapter['blocks.3.ft_mlp_module.up_proj.weight']!.data]), 0.02, 2e-3);
  });

  it('depends on seed and name alone: another method\'s head is the same', () => {
    assert.deepEqual(draw('lora', { rank: 8 })['head.weight'], draw('linear', {})['head.weight']);
    assert.notDeepEqual(draw('linear', {}, 2)['head.weight'], draw('linear', {}, 1)['head.weight']);
  });

  it('copies base tensors that train, so that training does not write into the backbone, unless it may take them', () => {
    const base = tinyBackbone();
    const tensors = trainableTensors({ architecture: tinyArchitecture, method: findMethod('bitfit'), options: {}, classes: 3 });
    const state = initialize(tensors, { base, seed: 1 });
    assert.deepEqual(state['norm.bias'], base['norm.bias']);
    assert.notEqual(state['norm.bias']!.data, base['norm.bias']!.data);
    const taken = initialize(tensors, { base, takesBase: true, seed: 1 });
    assert.equal(taken['norm.bias']!.data, base['norm.bias']!.data);
  });
});

describe('collectMasks', () => {
  it('finds the masks of a step: shapes for the batch, rates by depth, none of rate 0', async () => {
    const model = { architecture: tinyArchitecture, method: findMethod('adaptformer'), options: parseMethodOptions('adaptformer', { bottleneck: 4 }), classes: 3, batch: 6, dropPath: 0.2, dropout: true };
    const masks = await collectMasks(model);
    assert.deepEqual(masks, [
      { name: 'dropout/blocks.0.ft_mlp_module', shape: [30, 4], rate: 0.1 },
      { name: 'drop-path/blocks.1.attention', shape: [1, 6, 1], rate: 0.2 },
      { name: 'drop-path/blocks.1.mlp', shape: [1, 6, 1], rate: 0.2 },
      { name: 'dropout/blocks.1.ft_mlp_module', shape: [30, 4], rate: 0.1 },
      { name: 'drop-path/blocks.1.ft_mlp_module', shape: [1, 6, 1], rate: 0.2 },
    ]);
    assert.deepEqual(await collectMasks({ ...model, dropout: false, dropPath: 0 }), []);
  });

  it('shares one prompt mask in the batch in the study\'s variant, and not in the original', async () => {
    const model = { architecture: tinyArchitecture, method: findMethod('vpt-deep'), classes: 3, batch: 6, dropPath: 0, dropout: true };
    const shapes = async (options: Record<string, unknown>) => (await collectMasks({ ...model, options: parseMethodOptions('vpt-deep', { prompts: 3, ...options }) })).map(({ shape }) => shape);
    assert.deepEqual(await shapes({}), [[3, 16], [3, 16]]);
    assert.deepEqual(await shapes({ variant: 'original' }), []);
    assert.deepEqual(await shapes({ variant: 'original', dropout: 0.2 }), [[18, 16], [18, 16]]);
  });
});

function draw(id: string, options: Record<string, unknown>, seed = 1) {
  const tensors = trainableTensors({ architecture: tiny, method: findMethod(id), options: parseMethodOptions(id, options), classes: 4 });
  return initialize(tensors, { base: {}, seed });
}

function deviation(values: readonly number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
}

function near(actual: number, expected: number, tolerance: number): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} instead of ${expected}`);
}
