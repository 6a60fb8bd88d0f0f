import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import sharp from 'sharp';
import { listedPictures, reportPictures } from '../../../src/cli/report-pictures';
import { fakeSnapshot } from '../../fixtures/snapshot';

it('a report carries pictures of every format that training reads, and none of what is broken', async t => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-pictures-'));
  t.after(() => fs.rmSync(root, { recursive: true, force: true, maxRetries: 5 }));
  const snapshot = fakeSnapshot();
  const [portable, jpeg, broken] = listedPictures(snapshot).map(p => path.join(root, p.path));
  for (const file of [portable!, jpeg!, broken!]) fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(portable!, Buffer.concat([Buffer.from('P6 2 1 255\n'), Buffer.of(255, 0, 0, 255, 0, 0)]));
  await sharp({ create: { width: 20, height: 10, channels: 3, background: '#cc3366' } }).jpeg().toFile(jpeg!);
  fs.writeFileSync(broken!, 'no image');
  snapshot.dataSets[0]!.root = root;
  const pictures = Object.values(await reportPictures(snapshot));
  assert.equal(pictures.length, 2);
  const sides = await Promise.all(pictures.map(async uri => {
    const { format, width, height } = await sharp(Buffer.from(uri.replace('data:image/jpeg;base64,', ''), 'base64')).metadata();
    return [format, width, height];
  }));
  assert.deepEqual(sides, [['jpeg', 96, 96], ['jpeg', 96, 96]]);
});
