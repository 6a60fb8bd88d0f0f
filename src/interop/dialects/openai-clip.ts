import { ofRank, transposed } from '../arrays';
import { type Dialect, layer, likelyClipFacts, projectionName } from './dialect';

/** The image tower of OpenAI's CLIP and of OpenCLIP; what is in front of `class_embedding` is `visual.` there. */
export const openaiClip: Dialect = {
  id: 'openai-clip',
  title: 'OpenAI CLIP and OpenCLIP',
  anchors: ['class_embedding', 'conv1.weight'],
  names: [
    { theirs: 'class_embedding', ours: 'cls_token', layout: ofRank(3) },
    { theirs: 'positional_embedding', ours: 'pos_embed', layout: ofRank(3) },
    { theirs: 'conv1.weight', ours: 'patch_embed.proj.weight' },
    ...layer('ln_pre', 'norm_pre'),
    ...layer('transformer.resblocks.{i}.ln_1', 'blocks.{i}.norm1'),
    { theirs: 'transformer.resblocks.{i}.attn.in_proj_weight', ours: 'blocks.{i}.attn.qkv.weight' },
    { theirs: 'transformer.resblocks.{i}.attn.in_proj_bias', ours: 'blocks.{i}.attn.qkv.bias' },
    ...layer('transformer.resblocks.{i}.attn.out_proj', 'blocks.{i}.attn.proj'),
    { theirs: 'transformer.resblocks.{i}.ls_1.gamma', ours: 'blocks.{i}.ls1.gamma' },
    ...layer('transformer.resblocks.{i}.ln_2', 'blocks.{i}.norm2'),
    ...layer('transformer.resblocks.{i}.mlp.c_fc', 'blocks.{i}.mlp.fc1'),
    ...layer('transformer.resblocks.{i}.mlp.c_proj', 'blocks.{i}.mlp.fc2'),
    { theirs: 'transformer.resblocks.{i}.ls_2.gamma', ours: 'blocks.{i}.ls2.gamma' },
    ...layer('ln_post', 'norm'),
  ],
  projection: { theirs: 'proj', ours: projectionName, layout: transposed() },
  ignored: [/^proj$/],
  refused: [{ pattern: /^attn_pool\./, reason: 'an attention pool in place of the class token' }],
  facts: ({ ours }) => ({ certain: { layerNormEpsilon: 1e-5 }, assumed: likelyClipFacts(ours) }),
};
