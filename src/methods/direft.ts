/**
 * DiReFT: representations are edited by a low-rank term. Wu et al., ReFT: Representation Finetuning for Language Models, arXiv 2404.03592.
 *
 *   h <- h + W_2^T (W_1 h + b),   W_1, W_2 [r, D], b [r]
 *
 * behind every block, for the tokens that the options choose: LoReFT without its constraint and without the difference. The
 * authors' library keeps the rows of W_2 orthonormal under this name (`orthonormal`). W_1, b and W_2 start as PyTorch's linear
 * layers, U(+-1 / sqrt(D)), or orthonormal: not the identity. n (2 r D + r) parameters, n the number of interventions.
 */
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { interventionHooks, interventionOptions, interventionPaths, orthonormalRows, orthonormalRowsOf, refusesInterventions } from '../peft/interventions';
import { defineMethod, type TensorDeclaration } from '../peft/method';
import { linear } from '../vit/operations';

const options = z.strictObject({
  ...interventionOptions,
  orthonormal: z.boolean().default(false).describe('The rows of W_2 stay orthonormal, as in the authors\' library; the paper lets them free.'),
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'DiReFT',
  summary: 'A low-rank term is added to the representations behind every block.',
  paper: { title: 'ReFT: Representation Finetuning for Language Models', url: 'https://arxiv.org/abs/2404.03592' },
  version: 1,
  options,
  page: {
    kind: 'representation',
    equations: ['h <- h + W_2^T (W_1 h + b) for chosen tokens behind every block'],
    parameters: {
      formula: 'L (2 r D + r); 2 L - 1 instead of L where class token and patches are not tied',
      count: (architecture, options) => interventionPaths(architecture, options, 'direft').length * options.rank * (2 * architecture.width + 1),
    },
    findings: 'Not in the study. Its paper finds it quicker to train than LoReFT and a little behind it.',
    checkedAgainst: ['the formula\'s golden values', 'PyTorch'],
  },
  refuses: refusesInterventions,
  trains: [{ pattern: /^/, train: false }],
  tensors: (architecture, { orthonormal, ...options }) => interventionPaths(architecture, options, 'direft').map(tensorNames).flatMap((names): TensorDeclaration[] => {
    const { width } = architecture, { rank } = options, linearStart = { kind: 'uniform', limit: 1 / Math.sqrt(width) } as const;
    return [
      orthonormal
        ? { name: names.projection, shape: [rank, width], initial: { kind: 'computed', values: ({ normals }) => orthonormalRowsOf(normals(rank * width), rank) } }
        : { name: names.projection, shape: [rank, width], initial: linearStart },
      { name: names.weight, shape: [rank, width], initial: linearStart, neutral: 0 },
      { name: names.bias, shape: [rank], initial: linearStart, neutral: 0 },
    ];
  }),
  identityAtStart: () => 'all three start at random',
  act: interventionHooks<Options>('direft', (h, path, { options: { orthonormal }, tensor }) => {
    const names = tensorNames(path), projection = tensor(names.projection);
    const source = linear(h, tensor(names.weight), tensor(names.bias)); // [rows, rank]
    return tf.add(h, tf.matMul(source as tf.Tensor2D, (orthonormal ? orthonormalRows(projection) : projection) as tf.Tensor2D));
  }),
  interpolation: { kind: 'module' },
});

function tensorNames(path: string) {
  return { projection: `${path}.projection`, weight: `${path}.source.weight`, bias: `${path}.source.bias` };
}
