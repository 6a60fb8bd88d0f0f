import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { engines } from '../../../src/engine/engines';
import type { HostTensors } from '../../../src/engine/program';
import { certificateSchema } from '../../../src/peft/certificate';
import { initialize } from '../../../src/peft/initialize';
import { methods, parseMethodOptions } from '../../../src/peft/registry';
import { trainableTensors } from '../../../src/peft/trainable';
import { certify } from '../../../src/train/certify';
import { tinyArchitecture as architecture, tinyBackbone, tinyBatch } from '../../fixtures/tiny-vit';

const base = tinyBackbone(), classes = 3, batch = 4;

describe('parity certificate', () => {
  for (const [id, method] of Object.entries(methods)) {
    it(`of ${id}: nothing is lost by saving, and next to nothing by merging, or it says why it cannot be merged`, async () => {
      const { model, trained } = modelOf(id);
      const certificate = await certify({ model, base, trained, reloaded: trained, patches: tinyBatch(batch, classes).patches.data, images: 3, imagesFrom: 'data set', engine: engines.cpu, threads: 1 });
      assert.deepEqual(certificateSchema.parse(certificate), certificate);
      assert.deepEqual([certificate.images, certificate.engine, certificate.reload], [3, 'cpu', 0]);
      const added = method.tensors?.(architecture, model.options) ?? [];
      if (added.length && !method.fold) {
        assert.deepEqual([certificate.merge, certificate.unmerge], [null, null]);
        assert.match(certificate.cannotMerge!, /cannot be folded/);
      } else {
        assert.ok(certificate.merge! <= 1e-5 && certificate.unmerge! <= 1e-5 && certificate.cannotMerge === null, JSON.stringify(certificate));
      }
    });
  }

  it('shows what a damaged file lost', async () => {
    const { model, trained } = modelOf('lora');
    const reloaded: HostTensors = { ...trained, 'head.bias': { shape: [classes], data: trained['head.bias']!.data.map(x => x + 0.25) as Float32Array } };
    const { reload } = await certify({ model, base, trained, reloaded, patches: tinyBatch(batch, classes).patches.data, images: batch, imagesFrom: 'data set', engine: engines.cpu, threads: 1 });
    assert.ok(Math.abs(reload - 0.25) < 1e-5, String(reload));
  });
});

function modelOf(id: string) {
  const method = methods[id]!, options = parseMethodOptions(id, {});
  const model = { architecture, method, options, classes, batch };
  return { model, trained: initialize(trainableTensors(model), { base, seed: 3 }) };
}
