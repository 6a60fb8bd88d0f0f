import { ofRank } from '../arrays';
import { type Dialect, layer, likelyClipFacts, projectionName, queryKeyValue } from './dialect';

/** The image tower of Hugging Face's CLIP: of the whole model, or alone with and without its projection. */
export const hfClip: Dialect = {
  id: 'hf-clip',
  title: 'Hugging Face CLIP',
  anchors: ['embeddings.class_embedding', 'embeddings.patch_embedding.weight'],
  names: [
    { theirs: 'embeddings.class_embedding', ours: 'cls_token', layout: ofRank(3) },
    { theirs: 'embeddings.position_embedding.weight', ours: 'pos_embed', layout: ofRank(3) },
    { theirs: 'embeddings.patch_embedding.weight', ours: 'patch_embed.proj.weight' },
    ...layer('pre_layrnorm', 'norm_pre'), // so misspelt in transformers
    ...layer('encoder.layers.{i}.layer_norm1', 'blocks.{i}.norm1'),
    ...queryKeyValue(['encoder.layers.{i}.self_attn.q_proj', 'encoder.layers.{i}.self_attn.k_proj', 'encoder.layers.{i}.self_attn.v_proj']),
    ...layer('encoder.layers.{i}.self_attn.out_proj', 'blocks.{i}.attn.proj'),
    ...layer('encoder.layers.{i}.layer_norm2', 'blocks.{i}.norm2'),
    ...layer('encoder.layers.{i}.mlp.fc1', 'blocks.{i}.mlp.fc1'),
    ...layer('encoder.layers.{i}.mlp.fc2', 'blocks.{i}.mlp.fc2'),
    ...layer('post_layernorm', 'norm'),
  ],
  projection: { theirs: 'visual_projection.weight', ours: projectionName },
  ignored: [/^embeddings\.position_ids$/, /^visual_projection\./, /^classifier\./],
  refused: [{ pattern: /^head\.(probe|attention)/, reason: 'an attention pool in place of the class token' }],
  facts: ({ ours }) => ({ assumed: likelyClipFacts(ours) }),
};
