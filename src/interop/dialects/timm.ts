import { type Dialect, layer, likelyClipFacts, projectionName } from './dialect';

/** timm, and what names tensors alike: facebook's DeiT, DINO, DINOv2 and MAE. */
export const timm: Dialect = withBlocks('timm', 'blocks.{i}');

/** facebook's DINOv2 while it trains: blocks in chunks. */
export const timmInChunks: Dialect = withBlocks('dinov2-chunks', 'blocks.{chunk}.{i}');

function withBlocks(id: string, block: string): Dialect {
  return {
    id,
    title: 'timm',
    anchors: ['cls_token', 'patch_embed.proj.weight'],
    names: [
      ...['cls_token', 'pos_embed'].map(name => ({ theirs: name, ours: name })),
      ...layer('patch_embed.proj', 'patch_embed.proj'),
      ...layer('norm_pre', 'norm_pre'),
      ...['norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2'].flatMap(name => layer(`${block}.${name}`, `blocks.{i}.${name}`)),
      ...['ls1.gamma', 'ls2.gamma'].map(name => ({ theirs: `${block}.${name}`, ours: `blocks.{i}.${name}` })),
      ...layer('norm', 'norm'),
      ...layer('fc_norm', 'norm'), // fine-tuned with average pooling
    ],
    projection: { theirs: 'head.weight', ours: projectionName },
    ignored: [/^head\./, /^head_drop\./, /^pre_logits\./, /^mask_token$/, /^decoder_/, /^fc\./],
    refused: [
      { pattern: /^(reg_token|register_tokens|storage_tokens)$/, reason: 'register tokens' },
      { pattern: /^dist_token$/, reason: 'a distillation token beside the class token' },
      { pattern: /^blocks\.(\d+\.)+mlp\.(w12|w3|fc1_g|fc1_x|gate)/, reason: 'SwiGLU in its MLPs' },
      { pattern: /relative_position|rel_pos|rope/, reason: 'relative or rotary positions' },
      { pattern: /^attn_pool\./, reason: 'an attention pool in place of the class token' },
      { pattern: /\.attn\.(q_norm|k_norm|q_bias|v_bias|q_proj|k_proj|v_proj)\b/, reason: 'an attention other than the plain one' },
      { pattern: /^patch_embed\.(backbone|proj\.\d)/, reason: 'a convolutional stem' },
    ],
    // A LayerNorm before the blocks is CLIP's mark.
    facts: ({ ours }) => ({ assumed: ours.has('norm_pre.weight') ? likelyClipFacts(ours) : {} }),
  };
}
