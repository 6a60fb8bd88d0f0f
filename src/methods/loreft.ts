/**
 * LoReFT: representations are edited within a subspace. Wu et al., ReFT: Representation Finetuning for Language Models, arXiv 2404.03592.
 *
 *   h <- h + R^T (W h + b - R h),   R, W [r, D], b [r], rows of R orthonormal
 *
 * behind every block, for the tokens that the options choose. What trains is a matrix whose rows are made orthonormal in each
 * step (Gram and Schmidt); it starts orthonormal. W and b start as PyTorch's linear layers, U(+-1 / sqrt(D)): not the identity.
 * n (2 r D + r) parameters, n the number of interventions: L, or 2 L - 1 where class token and patches are not tied.
 *
 * A share alpha of the edit is had exactly: W <- R + alpha (W - R), b <- alpha b.
 */
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { interventionHooks, interventionOptions, interventionPaths, orthonormalRows, orthonormalRowsOf, refusesInterventions } from '../peft/interventions';
import { defineMethod } from '../peft/method';
import { linear } from '../vit/operations';

const options = z.strictObject(interventionOptions);
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'LoReFT',
  summary: 'Representations behind every block are edited within a learned subspace.',
  paper: { title: 'ReFT: Representation Finetuning for Language Models', url: 'https://arxiv.org/abs/2404.03592' },
  version: 1,
  options,
  page: {
    kind: 'representation',
    equations: ['h <- h + R^T (W h + b - R h), rows of R orthonormal, for chosen tokens behind every block'],
    parameters: {
      formula: 'L (2 r D + r); 2 L - 1 instead of L where class token and patches are not tied',
      count: (architecture, options) => interventionPaths(architecture, options, 'loreft').length * options.rank * (2 * architecture.width + 1),
    },
    findings: 'Not in the study. In its paper near LoRA on language tasks with about fifteen times fewer parameters.',
    checkedAgainst: ['the formula\'s golden values', 'PyTorch'],
  },
  refuses: refusesInterventions,
  trains: [{ pattern: /^/, train: false }],
  tensors: (architecture, options) => interventionPaths(architecture, options, 'loreft').map(tensorNames).flatMap(names => {
    const { width } = architecture, { rank } = options, linearStart = { kind: 'uniform', limit: 1 / Math.sqrt(width) } as const;
    return [
      { name: names.rotation, shape: [rank, width], initial: { kind: 'computed', values: ({ normals }) => orthonormalRowsOf(normals(rank * width), rank) } },
      { name: names.weight, shape: [rank, width], initial: linearStart },
      { name: names.bias, shape: [rank], initial: linearStart },
    ];
  }),
  identityAtStart: () => 'W and b start at random',
  act: interventionHooks<Options>('loreft', (h, path, { tensor }) => {
    const names = tensorNames(path), rotation = orthonormalRows(tensor(names.rotation));
    const target = linear(h, tf.sub(tensor(names.weight), rotation), tensor(names.bias)); // W h + b - R h: [rows, rank]
    return tf.add(h, tf.matMul(target as tf.Tensor2D, rotation as tf.Tensor2D));
  }),
  interpolation: { kind: 'module' },
  interpolate: ({ alpha, architecture, trained }, options) => Object.fromEntries(interventionPaths(architecture, options, 'loreft').map(tensorNames).flatMap(names => {
    const rotation = orthonormalRowsOf(trained(names.rotation), options.rank);
    return [
      [names.weight, trained(names.weight).map((w, i) => (alpha === 1 ? w : rotation[i]! + alpha * (w - rotation[i]!)))] as const,
      [names.bias, trained(names.bias).map(b => alpha * b)] as const,
    ];
  })),
});

function tensorNames(path: string) {
  return { rotation: `${path}.rotation`, weight: `${path}.source.weight`, bias: `${path}.source.bias` };
}
