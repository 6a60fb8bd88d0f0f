import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { summarize } from '../../../src/analysis/summary';
import { fakeSnapshot } from '../../fixtures/snapshot';

describe('summarize', () => {
  const text = summarize(fakeSnapshot()).join('\n');

  it('names the best trial, its accuracy and its size', () => {
    assert.match(text, /Best on flowers: adaptformer bottleneck=64, 98\.2% test top-1 with 1\.19 M trained parameters \(1\.4% of the backbone\), chosen on validation among 9 trials\./);
  });

  it('says how far apart methods are and what may be chance', () => {
    assert.match(text, /6 methods' best trials lie between 71\.7% \(linear\) and 98\.2% .* less than about 1\.5 points/);
  });

  it('names a smaller method that comes close', () => assert.match(text, /lora rank=8 is 1\.0 points behind with 295 K trained parameters/));
  it('says what the best pair gains', () => assert.match(text, /averaging their probabilities gives 98\.5%, \+0\.3 points/));
  it('counts what failed and what is missing', () => assert.match(text, /1 of 12 trials failed and is left out\.\n2 trials have not finished/));
  it('has nothing to say of nothing', () => assert.deepEqual(summarize(fakeSnapshot({ status: 'empty' })), []));
});
