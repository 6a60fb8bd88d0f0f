/**
 * First values against those that the study's constructor really made (../shared/reference/golden/init_actual.json): of each
 * kind of tensor as many numbers, of the same mean, deviation and range, on DeiT-Tiny.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { initialize } from '../../src/peft/initialize';
import { findMethod, parseMethodOptions } from '../../src/peft/registry';
import { adapterTensors } from '../../src/peft/trainable';
import { presets } from '../../src/vit/presets';

const file = path.resolve('../shared/reference/golden/init_actual.json');
const architecture = presets['deit_tiny_patch16_224']!;

interface Statistics { count: number; mean: number; std: number; min: number; max: number }

const cases: [measured: string, id: string, options: Record<string, unknown>][] = [
  ['linear', 'linear', {}],
  ['difffit', 'difffit', {}],
  ['ssf', 'ssf', {}],
  ['vpt_shallow', 'vpt-shallow', { prompts: 5 }],
  ['vpt_deep', 'vpt-deep', { prompts: 5 }],
  ['pfeiffer', 'pfeiffer', { bottleneck: 8 }],
  ['houlsby', 'houlsby', { bottleneck: 8 }],
  ['adaptformer', 'adaptformer', { bottleneck: 8 }],
  ['repadapter', 'repadapter', { bottleneck: 8 }],
  ['convpass', 'convpass', { bottleneck: 8, convolution: 'xavier' }],
  ['lora', 'lora', { rank: 8 }],
  ['fact_tt', 'fact-tt', { rank: 8 }],
  ['fact_tk', 'fact-tk', { rank: 8 }],
];

describe('first values are distributed as the study\'s', () => {
  for (const [name, id, options] of cases) {
    it(name, t => {
      if (!fs.existsSync(file)) return t.skip('../shared is not here');
      const measured = (JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, Record<string, Statistics>>)[name]!;
      const tensors = adapterTensors({ architecture, method: findMethod(id), options: parseMethodOptions(id, options), classes: 4 }).filter(({ source }) => source !== 'base');
      const values = Object.entries(initialize(tensors, { base: {}, seed: 42 }));
      const kinds = [...new Set(values.map(([tensor]) => kindOf(tensor)))];
      assert.deepEqual(kinds.sort(), Object.keys(measured).sort());
      for (const kind of kinds) compare(kind, statisticsOf(values.filter(([tensor]) => kindOf(tensor) === kind).flatMap(([, { data }]) => [...data])), measured[kind]!);
    });
  }
});

/** Ranges of uniform numbers are tight, and tell them from normal ones; five standard errors for the rest. */
function compare(kind: string, own: Statistics, theirs: Statistics): void {
  assert.equal(own.count, theirs.count, kind);
  if (theirs.std < 1e-9) return assert.deepEqual([own.min, own.max], [theirs.min, theirs.max], kind);
  if (own.count < 100) return; // too few to tell
  assert.ok(Math.abs(own.mean - theirs.mean) <= 5 * theirs.std * Math.sqrt(2 / own.count), `${kind}: mean ${own.mean}, theirs ${theirs.mean}`);
  assert.ok(Math.abs(own.std / theirs.std - 1) <= 5 / Math.sqrt(own.count), `${kind}: deviation ${own.std}, theirs ${theirs.std}`);
  const reach = ({ min, max, std }: Statistics) => (max - min) / 2 / std;
  assert.ok(Math.abs(reach(own) / reach(theirs) - 1) <= 0.4, `${kind}: from ${own.min} to ${own.max}, theirs from ${theirs.min} to ${theirs.max}`);
}

function statisticsOf(values: readonly number[]): Statistics {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const std = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
  return { count: values.length, mean, std, min: values.reduce((a, b) => Math.min(a, b)), max: values.reduce((a, b) => Math.max(a, b)) };
}

/** The name with its block's index left open. */
function kindOf(tensor: string): string {
  return tensor.includes('per_block_para') ? tensor.replace(/per_block_para\.\d+/, 'per_block_para.{i}')
    : tensor.includes('.fact.') ? tensor : tensor.replace(/^blocks\.\d+\./, 'blocks.{i}.');
}
