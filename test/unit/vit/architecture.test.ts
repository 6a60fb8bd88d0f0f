import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { baseParameters } from '../../../src/vit/architecture';
import { presets } from '../../../src/vit/presets';

/** Parameters without head and mask token: the published study for ViT-B/16, CLIP and DINOv2, the released models for the rest. */
const counts: Record<string, number> = {
  vit_tiny_patch16_224: 5_524_416,
  vit_small_patch16_224: 21_665_664,
  vit_base_patch16_224: 85_798_656,
  vit_large_patch16_224: 303_301_632,
  deit_tiny_patch16_224: 5_524_416,
  deit_small_patch16_224: 21_665_664,
  deit_base_patch16_224: 85_798_656,
  vit_base_patch16_224_in21k: 85_798_656,
  vit_base_patch32_224: 87_455_232,
  vit_base_patch8_224: 85_807_872,
  vit_base_patch16_clip_224: 85_799_424,
  vit_small_patch14_dinov2: 21_628_800,
  vit_base_patch14_dinov2: 85_724_928,
  vit_large_patch14_dinov2: 303_227_904,
};

describe('base parameters', () => {
  for (const [name, architecture] of Object.entries(presets)) {
    it(`${name} has as many as published`, () => {
      const total = baseParameters(architecture).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
      assert.equal(total, counts[name]);
    });
  }

  it('come in the order of timm', () => {
    const architecture = { ...presets['vit_base_patch16_clip_224']!, depth: 1, layerScale: true };
    assert.deepEqual(baseParameters(architecture).map(({ name }) => name), [
      'cls_token', 'pos_embed', 'patch_embed.proj.weight', 'norm_pre.weight', 'norm_pre.bias',
      'blocks.0.norm1.weight', 'blocks.0.norm1.bias', 'blocks.0.attn.qkv.weight', 'blocks.0.attn.qkv.bias',
      'blocks.0.attn.proj.weight', 'blocks.0.attn.proj.bias', 'blocks.0.ls1.gamma',
      'blocks.0.norm2.weight', 'blocks.0.norm2.bias', 'blocks.0.mlp.fc1.weight', 'blocks.0.mlp.fc1.bias',
      'blocks.0.mlp.fc2.weight', 'blocks.0.mlp.fc2.bias', 'blocks.0.ls2.gamma', 'norm.weight', 'norm.bias',
    ]);
  });
});
