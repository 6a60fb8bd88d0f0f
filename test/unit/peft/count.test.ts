import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { countParameters } from '../../../src/peft/count';
import { findMethod, methods, parseMethodOptions } from '../../../src/peft/registry';
import { presets } from '../../../src/vit/presets';

/** study.md 1.1: trainable parameters of ViT-B/16 without the head. */
type Counted = [method: string, options: Record<string, unknown>, trainable: number];
const vitBase: Counted[] = [
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
  ...[[1, 55_320], [2, 92_208], [4, 165_984], [16, 608_640], [256, 9_461_760]].map(([bottleneck, n]): Counted => ['houlsby', { bottleneck }, n!]),
  ...[[4, 82_992], [16, 304_320], [32, 599_424]].map(([bottleneck, n]): Counted => ['pfeiffer', { bottleneck }, n!]),
  ...[[8, 239_808], [16, 461_184], [32, 903_936]].map(([bottleneck, n]): Counted => ['repadapter', { bottleneck }, n!]),
  ...[[8, 327_552], [16, 664_320], [32, 1_420_800]].map(([bottleneck, n]): Counted => ['convpass', { bottleneck }, n!]),
  ...[[8, 21_504], [16, 61_440], [128, 2_555_904]].map(([rank, n]): Counted => ['fact-tt', { rank }, n!]),
  ...[[1, 1_681], [2, 3_368], [16, 30_976], [64, 369_664], [256, 17_207_296]].map(([rank, n]): Counted => ['fact-tk', { rank }, n!]),
  ['vpt-shallow', { prompts: 5 }, 3_840],
  ['vpt-shallow', { prompts: 200, variant: 'original' }, 153_600],
  ['difffit', {}, 140_544],
  ['ssf', {}, 205_824],
  ['vqt', { prompts: 10 }, 92_281],
  ['selective', { blocks: [11] }, 7_087_872],
  ['selective', { blocks: [-1] }, 7_087_872],
  // related-systems.md 0.2, 12 and 15
  ['ia3', {}, 55_296],
  ['kv-prefix', { prompts: 16 }, 294_912],
  ['kv-prefix', { prompts: 20 }, 368_640],
  ['sift', {}, 679_512],
  ['sift', { rate: 0.05 }, 4_246_776],
  ['sift', { targets: ['q', 'k', 'v', 'proj'] }, 226_512],
  ['attnscale', { granularity: 'shared' }, 465_708],
  ['attnscale', {}, 5_588_496],
  ['attnscale', { granularity: 'scalar' }, 144],
  ['dra', {}, 18_432],
  ...[[1, 18_444], [4, 73_776], [8, 147_552]].flatMap(([rank, n]): Counted[] => [['loreft', { rank }, n!], ['direft', { rank }, n!]]),
  ['apt', {}, 534_540],
  ['apt', { prompts: 200 }, 1_916_940],
  ['lora', { rank: 8, variant: 'original', targets: ['q', 'k', 'v', 'proj', 'fc1', 'fc2'] }, 1_327_104],
  ['dora', { rank: 8 }, 442_368 + 27_648],
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

  it('counts ViT-S as related-systems.md does, at 224 and at 128 pixels', () => {
    assert.equal(count('vit_small_patch16_224', 'ln', {}).trainable, 19_200);
    assert.equal(count('vit_small_patch16_224', 'attnscale', {}).trainable, 2_794_248);
    const small = { ...presets['vit_small_patch16_224']!, imageSize: 128 };
    const attnscale = (granularity: string) => countParameters({ architecture: small, method: findMethod('attnscale'), options: { granularity }, classes: 2 }).trainable;
    assert.deepEqual([attnscale('shared'), attnscale('per-head')], [50_700, 304_200]);
  });

  it('counts CLIP and DINOv2 as the study does', () => {
    assert.equal(count('vit_base_patch16_clip_224', 'full', {}).trainable, 85_799_424);
    assert.equal(count('vit_base_patch16_clip_224', 'bitfit', {}).trainable, 102_912);
    assert.equal(count('vit_base_patch16_clip_224', 'ln', {}).trainable, 39_936);
    assert.equal(count('vit_base_patch16_clip_224', 'difffit', {}).trainable, 141_312);
    assert.equal(count('vit_base_patch16_clip_224', 'convpass', { bottleneck: 32 }).trainable, 1_420_800);
    const dino = { ...presets['vit_base_patch14_dinov2']!, imageSize: 224 };
    assert.equal(countParameters({ architecture: dino, method: findMethod('full'), options: {}, classes: 2 }).trainable, 85_724_928);
  });

  for (const id of Object.keys(methods)) {
    it(`${id}: the formula on its page is what it declares, on every shape of backbone`, () => {
      const { page } = findMethod(id);
      for (const preset of ['vit_base_patch16_224', 'vit_small_patch16_224', 'deit_tiny_patch16_224', 'vit_base_patch16_clip_224', 'vit_base_patch14_dinov2']) {
        for (const options of formsOf(id)) {
          const architecture = { ...presets[preset]!, imageSize: 224 };
          const { trainable } = countParameters({ architecture, method: findMethod(id), options, classes: 7 });
          assert.equal(page.parameters.count(architecture, options), trainable, `${preset} ${JSON.stringify(options)}`);
        }
      }
    });
  }

  it('equals the counts measured on the study\'s code', t => {
    const file = path.resolve(process.cwd(), '../shared/reference/counts.json');
    if (!fs.existsSync(file)) return t.skip('../shared is not here');
    const measured = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, Record<string, { inserted_parameters: number; total_with_head4: number }>>;
    const settings: Record<string, [string, Record<string, unknown>]> = {
      linear: ['linear', {}], full: ['full', {}], bitfit: ['bitfit', {}], ln: ['ln', {}], lora: ['lora', { rank: 8 }],
      adaptformer: ['adaptformer', { bottleneck: 8 }], vpt_deep: ['vpt-deep', { prompts: 5 }], vpt_shallow: ['vpt-shallow', { prompts: 5 }],
      difffit: ['difffit', {}], ssf: ['ssf', {}], vqt: ['vqt', { prompts: 5 }],
      pfeiffer: ['pfeiffer', { bottleneck: 8 }], houlsby: ['houlsby', { bottleneck: 8 }], repadapter: ['repadapter', { bottleneck: 8 }],
      convpass: ['convpass', { bottleneck: 8 }], fact_tt: ['fact-tt', { rank: 8 }], fact_tk: ['fact-tk', { rank: 8 }],
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

/** The defaults, every value of every grid and enumeration, and 2 for what may be null. */
function formsOf(id: string): Record<string, unknown>[] {
  const { options } = findMethod(id);
  const others = Object.entries(options.shape).flatMap(([name, schema]) => {
    const inner = schema instanceof z.ZodDefault ? schema.unwrap() as z.ZodType : schema as z.ZodType;
    const values = [...(schema as z.ZodType).meta()?.['search'] as unknown[] ?? [], ...inner instanceof z.ZodEnum ? inner.options : [], 2, true];
    return values.map(value => ({ [name]: value }));
  });
  return [{}, ...others.filter(other => options.safeParse(other).success)].map(given => parseMethodOptions(id, given));
}
