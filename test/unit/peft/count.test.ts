import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { countParameters } from '../../../src/peft/count';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import { presets } from '../../../src/vit/presets';

/** study.md 1.1: trainable parameters of ViT-B/16 without the head. */
const vitBase: [method: string, options: Record<string, unknown>, trainable: number][] = [
  ['linear', {}, 0],
  ['full', {}, 85_798_656],
  ['bitfit', {}, 102_912],
  ['ln', {}, 38_400],
  ['lora', { rank: 1 }, 36_864],
  ['lora', { rank: 8 }, 294_912],
  ['lora', { rank: 256 }, 9_437_184],
  ['lora', { rank: 8, variant: 'original', targets: ['q', 'v'] }, 294_912],
  ['lora', { rank: 8, variant: 'original' }, 442_368],
  ['lora', { rank: 8, targets: ['v'] }, 147_456],
  ['adaptformer', { bottleneck: 4 }, 82_992],
  ['adaptformer', { bottleneck: 64 }, 1_189_632],
  ['vpt-deep', { prompts: 5 }, 46_080],
  ['vpt-deep', { prompts: 100 }, 921_600],
];

describe('countParameters', () => {
  for (const [id, options, trainable] of vitBase) {
    it(`${id} ${JSON.stringify(options)} trains ${trainable} parameters of ViT-B/16`, () => {
      const counted = count('vit_base_patch16_224', id, options);
      assert.equal(counted.trainable, trainable);
      assert.equal(counted.backbone, 85_798_656);
      assert.equal(counted.head, 10 * 768 + 10);
    });
  }

  it('counts CLIP and DINOv2 as the study does', () => {
    assert.equal(count('vit_base_patch16_clip_224', 'full', {}).trainable, 85_799_424);
    assert.equal(count('vit_base_patch16_clip_224', 'bitfit', {}).trainable, 102_912);
    assert.equal(count('vit_base_patch16_clip_224', 'ln', {}).trainable, 39_936);
    const dino = { ...presets['vit_base_patch14_dinov2']!, imageSize: 224 };
    assert.equal(countParameters({ architecture: dino, method: findMethod('full'), options: {}, classes: 2 }).trainable, 85_724_928);
  });

  it('equals the counts measured on the study\'s code', t => {
    const file = path.resolve(process.cwd(), '../shared/reference/counts.json');
    if (!fs.existsSync(file)) return t.skip('../shared is not here');
    const measured = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, Record<string, { inserted_parameters: number; total_with_head4: number }>>;
    const settings: Record<string, [string, Record<string, unknown>]> = {
      linear: ['linear', {}], full: ['full', {}], bitfit: ['bitfit', {}], ln: ['ln', {}], lora: ['lora', { rank: 8 }],
      adaptformer: ['adaptformer', { bottleneck: 8 }], vpt_deep: ['vpt-deep', { prompts: 5 }],
    };
    for (const preset of ['deit_tiny_patch16_224', 'vit_base_patch16_224']) {
      for (const [name, [id, options]] of Object.entries(settings)) {
        const expected = measured[preset]![name]!;
        const counted = count(preset, id, options, 4);
        assert.equal(counted.trainable, expected.inserted_parameters, `${preset} ${name}`);
        assert.equal(counted.total, expected.total_with_head4, `${preset} ${name}`);
      }
    }
  });
});

function count(preset: string, id: string, options: Record<string, unknown>, classes = 10) {
  return countParameters({ architecture: presets[preset]!, method: findMethod(id), options: parseMethodOptions(id, options), classes });
}
