import { type Dialect, layer, type NameRule, queryKeyValue } from './dialect';

/** Hugging Face's DINOv2, with LayerScale, by the names of transformers 4, which files keep. */
export const hfDinov2 = withAttention('hf-dinov2', [
  ...queryKeyValue(['query', 'key', 'value'].map(name => `encoder.layer.{i}.attention.attention.${name}`)),
  ...layer('encoder.layer.{i}.attention.output.dense', 'blocks.{i}.attn.proj'),
]);

/** By the names that transformers 5 has in memory. */
export const hfDinov2Five = withAttention('hf-dinov2-5', [
  ...queryKeyValue(['q_proj', 'k_proj', 'v_proj'].map(name => `encoder.layer.{i}.attention.${name}`)),
  ...layer('encoder.layer.{i}.attention.o_proj', 'blocks.{i}.attn.proj'),
]);

function withAttention(id: string, attention: readonly NameRule[]): Dialect {
  return {
    id,
    title: 'Hugging Face DINOv2',
    anchors: ['embeddings.patch_embeddings.projection.weight'],
    names: [
      { theirs: 'embeddings.cls_token', ours: 'cls_token' },
      { theirs: 'embeddings.position_embeddings', ours: 'pos_embed' },
      ...layer('embeddings.patch_embeddings.projection', 'patch_embed.proj'),
      ...layer('encoder.layer.{i}.norm1', 'blocks.{i}.norm1'),
      ...attention,
      { theirs: 'encoder.layer.{i}.layer_scale1.lambda1', ours: 'blocks.{i}.ls1.gamma' },
      ...layer('encoder.layer.{i}.norm2', 'blocks.{i}.norm2'),
      ...layer('encoder.layer.{i}.mlp.fc1', 'blocks.{i}.mlp.fc1'),
      ...layer('encoder.layer.{i}.mlp.fc2', 'blocks.{i}.mlp.fc2'),
      { theirs: 'encoder.layer.{i}.layer_scale2.lambda1', ours: 'blocks.{i}.ls2.gamma' },
      ...layer('layernorm', 'norm'),
    ],
    ignored: [/^embeddings\.mask_token$/, /^classifier\./],
    refused: [
      { pattern: /^embeddings\.register_tokens$/, reason: 'register tokens' },
      { pattern: /\.mlp\.weights_(in|out)\./, reason: 'SwiGLU in its MLPs' },
    ],
  };
}
