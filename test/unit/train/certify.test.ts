import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UserError } from '../../../src/common/errors';
import { engines } from '../../../src/engine/engines';
import type { HostTensors } from '../../../src/engine/program';
import { certificateSchema } from '../../../src/peft/certificate';
import { foldAdapter } from '../../../src/peft/fold';
import { initialize } from '../../../src/peft/initialize';
import { methods, parseMethodOptions } from '../../../src/peft/registry';
import { adapterTensors } from '../../../src/peft/trainable';
import { certify } from '../../../src/train/certify';
import { tinyArchitecture as architecture, tinyBackbone, tinyBatch } from '../../fixtures/tiny-vit';

const base = tinyBackbone(), classes = 3, batch = 4;

describe('parity certificate', () => {
  for (const id of Object.keys(methods)) {
    it(`of ${id}: nothing is lost by saving, and next to nothing by merging, or it says why it cannot be merged`, async () => {
      const { model, trained } = modelOf(id);
      const certificate = await certify({ model, base, trained, reloaded: trained, patches: tinyBatch(batch, classes).patches.data, images: 3, imagesFrom: 'data set', engine: engines.cpu, threads: 1 });
      assert.deepEqual(certificateSchema.parse(certificate), certificate);
      assert.deepEqual([certificate.images, certificate.engine, certificate.reload], [3, 'cpu', 0]);
      const reason = refusal(() => foldAdapter({ ...model, base, trained }));
      if (reason !== null) {
        assert.deepEqual([certificate.merge, certificate.unmerge], [null, null]);
        assert.equal(certificate.cannotMerge, reason);
        assert.match(reason, /cannot be folded/);
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

function refusal(act: () => unknown): string | null {
  try {
    act();
    return null;
  } catch (error) {
    if (error instanceof UserError) return error.what;
    throw error;
  }
}

function modelOf(id: string) {
  const method = methods[id]!, options = parseMethodOptions(id, {});
  const model = { architecture, method, options, classes, batch };
  return { model, trained: initialize(adapterTensors(model), { base, seed: 3, gradients: base }) };
}
