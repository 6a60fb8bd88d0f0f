import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import { tinyArchitecture } from '../../fixtures/tiny-vit';

describe('interventions', () => {
  const refused = (options: Record<string, unknown>) => findMethod('loreft').refuses!(tinyArchitecture, parseMethodOptions('loreft', options));

  it('are refused where there is nothing to edit, or no such block', () => {
    assert.match(refused({ positions: 'patches', blocks: [-1] })!, /behind the last block only the class token can be edited/);
    assert.match(refused({ blocks: [2] })!, /there is no block 2: it has 2, 0 to 1, or -2 to -1 from the end/);
    for (const options of [{ positions: 'patches' }, { positions: 'patches', blocks: [0, -1] }, { positions: 'all', blocks: [-1] }]) assert.equal(refused(options), null);
  });
});
