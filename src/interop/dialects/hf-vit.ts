import { type Dialect, layer, type NameRule, queryKeyValue } from './dialect';

/** Hugging Face's ViT, DeiT without distillation and ViT-MAE, by the names of transformers 4, which files keep. */
export const hfVit = withBlocks('hf-vit', [
  ...layer('encoder.layer.{i}.layernorm_before', 'blocks.{i}.norm1'),
  ...queryKeyValue(['query', 'key', 'value'].map(name => `encoder.layer.{i}.attention.attention.${name}`)),
  ...layer('encoder.layer.{i}.attention.output.dense', 'blocks.{i}.attn.proj'),
  ...layer('encoder.layer.{i}.layernorm_after', 'blocks.{i}.norm2'),
  ...layer('encoder.layer.{i}.intermediate.dense', 'blocks.{i}.mlp.fc1'),
  ...layer('encoder.layer.{i}.output.dense', 'blocks.{i}.mlp.fc2'),
]);

/** By the names that transformers 5 has in memory. */
export const hfVitFive = withBlocks('hf-vit-5', [
  ...layer('layers.{i}.layernorm_before', 'blocks.{i}.norm1'),
  ...queryKeyValue(['q_proj', 'k_proj', 'v_proj'].map(name => `layers.{i}.attention.${name}`)),
  ...layer('layers.{i}.attention.o_proj', 'blocks.{i}.attn.proj'),
  ...layer('layers.{i}.layernorm_after', 'blocks.{i}.norm2'),
  ...layer('layers.{i}.mlp.fc1', 'blocks.{i}.mlp.fc1'),
  ...layer('layers.{i}.mlp.fc2', 'blocks.{i}.mlp.fc2'),
]);

function withBlocks(id: string, blocks: readonly NameRule[]): Dialect {
  return {
    id,
    title: 'Hugging Face ViT',
    anchors: ['embeddings.patch_embeddings.projection.weight'],
    names: [
      { theirs: 'embeddings.cls_token', ours: 'cls_token' },
      { theirs: 'embeddings.position_embeddings', ours: 'pos_embed' },
      ...layer('embeddings.patch_embeddings.projection', 'patch_embed.proj'),
      ...blocks,
      ...layer('layernorm', 'norm'),
    ],
    ignored: [/^pooler\./, /^classifier\./, /^embeddings\.mask_token$/, /^decoder\./],
    refused: [
      { pattern: /^embeddings\.distillation_token$/, reason: 'a distillation token beside the class token' },
      { pattern: /relative_position/, reason: 'relative positions' },
    ],
    facts: () => ({ assumed: { layerNormEpsilon: 1e-12 } }),
  };
}
