import assert from 'node:assert/strict';
import { it } from 'node:test';
import { hubEnvironment } from '../../../src/extension/hub-environment';

/** The editor's secret storage with one token in it. */
function storage(token: string | undefined): Parameters<typeof hubEnvironment>[0] {
  return { secrets: { get: () => Promise.resolve(token) } } as unknown as Parameters<typeof hubEnvironment>[0];
}

it('the launcher gets the stored token, unless the environment has one', async () => {
  assert.deepEqual(await hubEnvironment(storage('hf_stored'), {}), { HF_TOKEN: 'hf_stored' });
  assert.deepEqual(await hubEnvironment(storage('hf_stored'), { HF_TOKEN: 'hf_own' }), {});
  assert.deepEqual(await hubEnvironment(storage(undefined), {}), {});
});
