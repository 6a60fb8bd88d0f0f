/**
 * Selective tuning: chosen parts of chosen blocks train as they are; nothing is added. After Touvron et al., Three things
 * everyone should know about Vision Transformers, arXiv 2203.09795 (attention alone), and the study's own selections.
 *
 * Blocks are chosen by their exact index, where the study's code compares text and takes block 11 for block 1 too (study.md 1.3).
 */
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { chosenBlocks, refusesBlocks } from '../peft/blocks';
import { defineMethod, type TrainRule } from '../peft/method';
import { baseParameters } from '../vit/architecture';

const parts = ['qkv', 'proj', 'fc1', 'fc2', 'norms'] as const;

const options = z.strictObject({
  blocks: z.array(z.int()).min(1).default([-1]).describe('Indices of the blocks, 0 first; negative ones count from the end.'),
  parts: z.array(z.enum(parts)).min(1).default([...parts])
    .describe('Which parts of them: qkv and proj make the attention, fc1 and fc2 the MLP, norms are the LayerNorms and LayerScale; all make whole blocks.'),
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'Selective tuning',
  summary: 'Chosen parts of chosen blocks train; nothing is added.',
  paper: { title: 'Three things everyone should know about Vision Transformers', url: 'https://arxiv.org/abs/2203.09795' },
  version: 1,
  options,
  page: {
    kind: 'selection',
    equations: ['every tensor of the chosen parts is trained'],
    parameters: {
      formula: 'for each block: qkv 3 D^2 + 3 D, proj D^2 + D, fc1 m D^2 + m D, fc2 m D^2 + D, norms 4 D',
      count: (architecture, options) => {
        const { width, hidden, qkvBias, layerScale } = architecture;
        const sizes: Record<typeof parts[number], number> = {
          qkv: 3 * width ** 2 + (qkvBias ? 3 * width : 0), proj: width ** 2 + width, fc1: hidden * width + hidden, fc2: hidden * width + width,
          norms: (layerScale ? 6 : 4) * width,
        };
        return chosenBlocks(architecture, options).length * [...new Set(options.parts)].reduce((sum, part) => sum + sizes[part], 0);
      },
    },
    findings: 'Not in the study\'s tables; its released code has settings for the last three blocks.',
    checkedAgainst: ['PyTorch'],
  },
  refuses: refusesBlocks,
  trains: (architecture, options) => rules(architecture, options),
  identityAtStart: () => true,
  interpolation: { kind: 'weights' },
});

function rules(architecture: Architecture, options: Options): TrainRule[] {
  const inside = { qkv: 'attn\\.qkv', proj: 'attn\\.proj', fc1: 'mlp\\.fc1', fc2: 'mlp\\.fc2', norms: '(norm|ls)[12]' };
  const pattern = new RegExp(`^blocks\\.(${chosenBlocks(architecture, options).join('|')})\\.(${options.parts.map(part => inside[part]).join('|')})\\.`);
  return baseParameters(architecture).some(({ name }) => pattern.test(name))
    ? [{ pattern, train: true }, { pattern: /^/, train: false }] : [{ pattern: /^/, train: false }];
}
