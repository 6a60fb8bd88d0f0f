/** Methods of related systems against the golden values of their formulas (../shared/reference/related-golden.json), hook by hook. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';
import { useBackend } from '../../src/engine/eager';
import { tf } from '../../src/engine/tfjs';
import type { HookContext, Hooks, LinearSite } from '../../src/peft/method';
import { findMethod, parseMethodOptions } from '../../src/peft/registry';
import { tinyArchitecture } from '../fixtures/tiny-vit';
import { largestDifference } from '../fixtures/parity';

const file = path.resolve('../shared/reference/related-golden.json');
type Values = number[] | number[][];

/** Hooks of a method in the one block of a backbone for one image: a class token and a patch, or as many rows as a case wants. */
async function open(id: string, options: Record<string, unknown>, tensors: Record<string, Values>) {
  await useBackend('cpu');
  const method = findMethod(id);
  const context = {
    options: parseMethodOptions(id, options), architecture: { ...tinyArchitecture, imageSize: 8, patch: 8, width: 4, depth: 1, heads: 1 }, block: 0, batch: 1,
    tensor: (name: string) => tf.tensor(tensors[name]!), activation: (name: string) => tf.tensor(tensors[name]!),
    dropout: (x: unknown) => x, dropPath: (x: unknown) => x, layerScale: (x: unknown) => x,
  } as unknown as HookContext<Record<string, unknown>>;
  return { act: method.act as Hooks<Record<string, unknown>>, context };
}

function read(): Record<string, Record<string, unknown>> | null {
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, Record<string, unknown>> : null;
}

it('LoReFT and DiReFT edit a token as their formulas do', async t => {
  const golden = read()?.['reft'] as { h: number[]; R: number[][]; W: number[][]; b: number[]; loreft: number[]; direft: number[] } | undefined;
  if (!golden) return t.skip('../shared is not here');
  const source = (name: string) => ({ [`blocks.0.${name}.source.weight`]: golden.W, [`blocks.0.${name}.source.bias`]: golden.b });
  const cases = [
    ['loreft', { rank: 2, positions: 'class' }, { 'blocks.0.loreft.rotation': golden.R, ...source('loreft') }, golden.loreft],
    ['direft', { rank: 2, positions: 'class', orthonormal: true }, { 'blocks.0.direft.projection': golden.R, ...source('direft') }, golden.direft],
  ] as const;
  for (const [id, options, tensors, expected] of cases) {
    const { act, context } = await open(id, options, tensors);
    const out = act.blockOutput!(tf.tensor([golden.h, golden.h]), context);
    assert.ok(largestDifference(await out.data() as Float32Array, [...expected, ...golden.h]) <= 1e-5, `${id}: the class token is edited, the patch is not`);
  }
});

it('APT adds what its formula says', async t => {
  const golden = read()?.['apt'] as { out: number[][] } | undefined;
  if (!golden) return t.skip('../shared is not here');
  const sine = (rows: number, columns: number, frequency: number, factor = 1) =>
    Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (_, j) => factor * Math.sin(frequency * (i * columns + j + 1))));
  const { act, context } = await open('apt', { prompts: 3, rank: 2 }, {
    'blocks.0.apt.prompts': sine(3, 4, 0.9, 0.02), 'blocks.0.apt.down': sine(2, 4, 0.5), 'blocks.0.apt.up': sine(4, 2, 0.8, 0.1), 'blocks.0.apt.scale': [0.1],
    'blocks.0.attention.normalized': sine(2, 4, 0.3),
  });
  const x = tf.tensor(sine(2, 4, 0.6));
  const out = act.linearOutput!(x, x, 'proj' satisfies LinearSite, context);
  assert.ok(largestDifference(await out.data() as Float32Array, golden.out.flat()) <= 1e-5);
});

it('AttnScale scales scores before the softmax', async t => {
  const golden = read()?.['attnscale'] as { alpha: number[][]; plain: number[][]; scaled: number[][] } | undefined;
  if (!golden) return t.skip('../shared is not here');
  const sine = (frequency: number) => tf.tensor2d(Array.from({ length: 6 }, (_, i) => Math.sin(frequency * (i + 1))), [3, 2]);
  const { act, context } = await open('attnscale', { granularity: 'shared' }, { 'blocks.0.attn.attnscale': [golden.alpha] as unknown as Values });
  const scores = tf.reshape(tf.div(tf.matMul(sine(0.4), sine(0.9), false, true), Math.SQRT2), [1, 3, 3]);
  const mixed = (of: typeof scores) => tf.matMul(tf.reshape(tf.softmax(of), [3, 3]) as tf.Tensor2D, sine(1.7)).data() as Promise<Float32Array>;
  assert.ok(largestDifference(await mixed(scores), golden.plain.flat()) <= 1e-5, 'the case is the one that was measured');
  assert.ok(largestDifference(await mixed(act.attentionScores!(scores, context) as typeof scores), golden.scaled.flat()) <= 1e-5);
});
