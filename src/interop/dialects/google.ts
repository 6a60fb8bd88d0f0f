import { channelNormalization } from '../../common/normalization';
import { convolution, flat, transposed } from '../arrays';
import type { Dialect, NameRule } from './dialect';

/** Google's npz files, the original ViT and AugReg: layers of a block are numbered over all kinds. Kernels are [in, out]. */
export const google = numbered('google', { attention: 1, second: 2, mlp: 3 });

/** As big_vision saves them: numbered by kind. */
export const googleByKind = numbered('google-by-kind', { attention: 0, second: 1, mlp: 0 });

function numbered(id: string, { attention, second, mlp }: { attention: number; second: number; mlp: number }): Dialect {
  const block = 'Transformer/encoderblock_{i}';
  return {
    id,
    title: 'Google\'s npz',
    anchors: ['cls', 'embedding/kernel'],
    names: [
      { theirs: 'cls', ours: 'cls_token' },
      { theirs: 'Transformer/posembed_input/pos_embedding', ours: 'pos_embed' },
      { theirs: 'pos_embedding', ours: 'pos_embed' },
      { theirs: 'embedding/kernel', ours: 'patch_embed.proj.weight', layout: convolution },
      { theirs: 'embedding/bias', ours: 'patch_embed.proj.bias' },
      ...normNames(`${block}/LayerNorm_0`, 'blocks.{i}.norm1'),
      ...attentionNames(`${block}/MultiHeadDotProductAttention_${attention}`),
      ...normNames(`${block}/LayerNorm_${second}`, 'blocks.{i}.norm2'),
      ...denseNames(`${block}/MlpBlock_${mlp}/Dense_0`, 'blocks.{i}.mlp.fc1'),
      ...denseNames(`${block}/MlpBlock_${mlp}/Dense_1`, 'blocks.{i}.mlp.fc2'),
      ...normNames('Transformer/encoder_norm', 'norm'),
    ],
    ignored: [/^head\//, /^pre_logits\//],
    refused: [
      { pattern: /^MAPHead_\d/, reason: 'an attention pool in place of the class token' },
      { pattern: /^(conv_root|block1|root)/, reason: 'a convolutional stem' },
    ],
    facts: ({ theirs }) => ({
      certain: {
        heads: [...theirs].find(([name, shape]) => name.endsWith('/query/kernel') && shape.length === 3)?.[1][1],
        layerNormEpsilon: 1e-6, activation: 'gelu', normalization: channelNormalization('0.5'),
      },
    }),
  };
}

function normNames(theirs: string, ours: string): NameRule[] {
  return [{ theirs: `${theirs}/scale`, ours: `${ours}.weight` }, { theirs: `${theirs}/bias`, ours: `${ours}.bias` }];
}

function denseNames(theirs: string, ours: string): NameRule[] {
  return [{ theirs: `${theirs}/kernel`, ours: `${ours}.weight`, layout: transposed() }, { theirs: `${theirs}/bias`, ours: `${ours}.bias` }];
}

/** Queries, keys and values [width, heads, head width]; the output [heads, head width, width]. */
function attentionNames(theirs: string): NameRule[] {
  const parts = ['query', 'key', 'value'].flatMap((name, part): NameRule[] => [
    { theirs: `${theirs}/${name}/kernel`, ours: 'blocks.{i}.attn.qkv.weight', part, layout: transposed({ rank: 3 }) },
    { theirs: `${theirs}/${name}/bias`, ours: 'blocks.{i}.attn.qkv.bias', part, layout: flat },
  ]);
  return [
    ...parts,
    { theirs: `${theirs}/out/kernel`, ours: 'blocks.{i}.attn.proj.weight', layout: transposed({ rank: 3, outer: 2 }) },
    { theirs: `${theirs}/out/bias`, ours: 'blocks.{i}.attn.proj.bias' },
  ];
}
