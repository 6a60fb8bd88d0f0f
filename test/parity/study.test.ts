/** DeiT-Tiny with each method against numbers that the study's own code produced (../shared/reference/golden/README.md), on every engine. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import sharp from 'sharp';
import type { Architecture } from '../../src/common/trial';
import { findMethod, parseMethodOptions } from '../../src/peft/registry';
import { frozenTensors, prepareModel } from '../../src/train/model';
import { evaluationProgram } from '../../src/train/program';
import { loadBackbone } from '../../src/vit/weights';
import { engineIds, engineOrSkip } from '../fixtures/engines';
import { checkParity, largestDifference, patchRows, readTensors, tolerances, type GoldenBatch } from '../fixtures/parity';

const golden = path.resolve(process.cwd(), '../shared/reference/golden');
const weights = path.resolve(process.cwd(), '../shared/weights/deit_tiny_patch16_224.safetensors');
const batch = 8, classes = 4;
/** Plain JavaScript would take minutes. */
const fastEngineIds = engineIds.filter(id => id !== 'cpu');

/** Folder of the golden data, method id, options as in its config.json. */
const cases: [folder: string, id: string, options: Record<string, unknown>][] = [
  ['linear', 'linear', {}],
  ['bitfit', 'bitfit', {}],
  ['lora', 'lora', { rank: 8 }],
  ['adaptformer', 'adaptformer', { bottleneck: 8, scale: 0.1 }],
  ['vpt_deep', 'vpt-deep', { prompts: 5 }],
];

describe('parity with the study\'s code', () => {
  for (const [folder, id, options] of cases) {
    for (const engineId of fastEngineIds) {
      it(`${folder} on ${engineId}`, async t => {
        if (!fs.existsSync(golden) || !fs.existsSync(weights)) return t.skip('../shared is not here');
        const engine = await engineOrSkip(t, engineId);
        if (!engine) return;
        const [start, tensors] = await Promise.all(['init', 'expected'].map(async name => (await readTensors(path.join(golden, folder, `${name}.safetensors`))).tensors));
        const backbone = await loadBackbone({ file: weights });
        const { architecture } = backbone;
        const model = await prepareModel({
          architecture, method: findMethod(id), options: parseMethodOptions(id, options), classes, batch, dropPath: 0, dropout: false,
        });
        await checkParity(t, {
          engine, model, backbone: backbone.tensors, start: start!, batch: await goldenBatch(architecture),
          expected: {
            logits: tensors!['logits_eval']!, loss: tensors!['loss_eval']!, lossSteps: tensors!['loss_steps']!,
            gradient: name => tensors![`grad.${name}`]!, trained: name => tensors![`train3.${name}`]!,
          },
        });
      });
    }
  }
});

describe('parity with Hugging Face PEFT', () => {
  for (const engineId of fastEngineIds) {
    it(`LoRA on timm's qkv, ${engineId}`, async t => {
      const folder = path.join(golden, 'hf_peft/timm_lora_qkv_r8_a16');
      if (!fs.existsSync(folder) || !fs.existsSync(weights)) return t.skip('../shared is not here');
      const engine = await engineOrSkip(t, engineId);
      if (!engine) return;
      const [adapter, expected] = await Promise.all(['adapter_model', 'expected'].map(async name => (await readTensors(path.join(folder, `${name}.safetensors`))).tensors));
      const { architecture, tensors } = await loadBackbone({ file: weights });
      const options = parseMethodOptions('lora', { rank: 8, alpha: 16, variant: 'original', sharing: 'fused' });
      const model = await prepareModel({ architecture, method: findMethod('lora'), options, classes, batch, dropPath: 0, dropout: false });
      const ownName = (name: string) => name.replace('base_model.model.', '').replace('qkv.lora_A', 'lora.lora_a').replace('qkv.lora_B', 'lora.lora_b');
      const state = Object.fromEntries(Object.entries(adapter!).map(([name, value]) => [ownName(name), value]));
      assert.deepEqual(Object.keys(state).sort(), model.tensors.map(({ name }) => name).sort());
      const session = await engine.open({ programs: { evaluate: evaluationProgram(model) }, state, constants: frozenTensors(model, tensors), threads: 2 });
      try {
        const { logits } = await session.call('evaluate', { patches: (await goldenBatch(architecture)).patches });
        const off = largestDifference(logits!.data, expected!['logits']!.data);
        assert.ok(off <= tolerances.logits, `logits: off by ${off}`);
        t.diagnostic(`logits off by ${off.toExponential(1)}`);
      } finally {
        await session.dispose();
      }
    });
  }
});

/** The eight PNGs, normalised to [-1, 1]. */
async function goldenBatch({ imageSize: side, patch }: Architecture): Promise<GoldenBatch> {
  const lines = fs.readFileSync(path.join(golden, 'order.txt'), 'utf8').trim().split('\n').map(line => line.split(' '));
  const images = new Float32Array(batch * 3 * side * side);
  for (const [image, [name]] of lines.entries()) {
    const pixels = await sharp(path.join(golden, name!)).removeAlpha().raw().toBuffer();
    pixels.forEach((value, i) => {
      const channel = i % 3, position = Math.floor(i / 3);
      images[(image * 3 + channel) * side * side + position] = (value / 255 - 0.5) / 0.5;
    });
  }
  return { patches: patchRows(images, { batch, side, patch }), labels: Int32Array.from(lines, ([, label]) => Number(label)) };
}
