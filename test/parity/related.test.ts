/** Formulas of related systems, against the numbers of ../shared/reference/related-golden.json. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';
import { useBackend } from '../../src/engine/eager';
import { tf } from '../../src/engine/tfjs';
import { findMethod } from '../../src/peft/registry';
import { attentionOfScores } from '../../src/vit/operations';
import { tinyArchitecture } from '../fixtures/tiny-vit';

const file = path.resolve(process.cwd(), '../shared/reference/related-golden.json');

it('attnscale: attention with scaled scores', async t => {
  if (!fs.existsSync(file)) return t.skip('../shared is not here');
  const golden = (JSON.parse(fs.readFileSync(file, 'utf8')) as { attnscale: { alpha: number[][]; plain: number[][]; scaled: number[][] } }).attnscale;
  await useBackend('cpu');
  const { attentionScores } = findMethod('attnscale').act!;
  const attend = (alpha: number[][]) => tf.tidy(() => {
    const [q, k, v] = [0.4, 0.9, 1.7].map(f => tf.tensor2d(Array.from({ length: 6 }, (_, i) => Math.sin(f * (i + 1))), [3, 2]));
    const nothing = () => { throw new Error('not needed'); };
    const context = {
      options: { granularity: 'shared' }, architecture: { ...tinyArchitecture, heads: 1 }, block: 0, batch: 1, tensor: () => tf.tensor3d([alpha]),
      activation: nothing, dropout: nothing, dropPath: nothing, layerScale: nothing,
    };
    return attentionOfScores({ q: q!, k: k!, v: v! }, { batch: 1, heads: 1 }, scores => attentionScores!(scores, context)).arraySync() as number[][];
  });
  const ones = golden.alpha.map(row => row.map(() => 1));
  for (const [alpha, expected] of [[ones, golden.plain], [golden.alpha, golden.scaled]] as const) {
    const found = attend(alpha).flat();
    expected.flat().forEach((value, i) => assert.ok(Math.abs(found[i]! - value) < 1e-6, `${found[i]} instead of ${value}`));
  }
});
