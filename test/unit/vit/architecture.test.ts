import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { baseParameters } from '../../../src/vit/architecture';
import { findPreset, presetNames, presets } from '../../../src/vit/presets';

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
  // As timm 1.0 counts them without a head.
  vit_small_patch32_224: 22_493_952,
  vit_base_patch16_384: 86_090_496,
  deit_base_patch16_384: 86_090_496,
  vit_large_patch32_224: 305_510_400,
  vit_huge_patch14_224: 630_764_800,
  vit_base_patch32_clip_224: 87_456_000,
  vit_large_patch14_clip_224: 303_179_776,
  vit_large_patch14_clip_336: 303_507_456,
  mae_vit_base_patch16: 85_798_656,
  mae_vit_large_patch16: 303_301_632,
  mae_vit_huge_patch14: 630_764_800,
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

describe('architectures by name', () => {
  it('are found by timm\'s names with owner and tag, and by their authors\'', () => {
    for (const name of presetNames()) assert.ok(findPreset(name), name);
    assert.equal(findPreset('timm/vit_base_patch16_224.augreg_in21k'), presets['vit_base_patch16_224']);
    assert.equal(findPreset('vit_base_patch16_clip_quickgelu_224.openai'), presets['vit_base_patch16_clip_224']);
    assert.equal(findPreset('ViT-L/14'), presets['vit_large_patch14_clip_224']);
    assert.equal(findPreset('facebook/dinov2-base'), presets['vit_base_patch14_dinov2']);
    assert.equal(findPreset('resnet50'), null);
  });
});
