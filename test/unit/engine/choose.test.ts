import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { probeEngines } from '../../../src/engine/choose';

it('a fresh measurement forgets the verdicts of every question', async t => {
  const [cache, before] = [fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-cache-')), process.env['PEFT_LAB_CACHE']];
  t.after(() => {
    if (before === undefined) delete process.env['PEFT_LAB_CACHE'];
    else process.env['PEFT_LAB_CACHE'] = before;
    fs.rmSync(cache, { recursive: true, force: true });
  });
  process.env['PEFT_LAB_CACHE'] = cache;
  const other = path.join(cache, 'engines/of-another-shape.json');
  fs.mkdirSync(path.dirname(other));
  fs.writeFileSync(other, '{}');
  const reports = await probeEngines({ threads: 1, fresh: true, cancel: AbortSignal.abort() });
  assert.ok(reports.every(({ available }) => !available));
  assert.ok(!fs.existsSync(other));
});
