import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import { describe, it } from 'node:test';
import { openSafetensors } from '../../../src/interop/safetensors';
import { demoStudy, embeddedBackbone } from '../../../src/vit/embedded';
import { loadBackbone } from '../../../src/vit/weights';

describe('the embedded backbone', () => {
  it('is under 2 MB, says how it was made and leaves nothing to assume', async () => {
    const file = embeddedBackbone();
    assert.ok((await fs.stat(file)).size < 2_000_000);
    const { architecture, normalization, warnings, tensors } = await loadBackbone({ file });
    assert.deepEqual(warnings, []);
    assert.deepEqual(normalization, { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] });
    assert.deepEqual([architecture.imageSize, architecture.patch, architecture.width / architecture.heads], [64, 8, 32]);
    for (const [name, { data }] of Object.entries(tensors)) assert.ok(data.every(Number.isFinite), name);
    const opened = await openSafetensors(file);
    await opened.close();
    assert.match(opened.metadata['command'] ?? '', /^node tools\/pretrain\.mjs /);
    assert.match(opened.metadata['accuracy'] ?? '', /^\d+\.\d % of \d+ unseen images/);
  });

  it('has a demo study beside it', async () => {
    assert.match(await fs.readFile(demoStudy(), 'utf8'), /"file": "demo"/);
  });
});
