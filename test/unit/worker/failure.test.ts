import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UserError } from '../../../src/common/errors';
import { explainFailure } from '../../../src/worker/failure';

describe('explainFailure', () => {
  for (const code of ['ENOSPC', 'EDQUOT', 'EFBIG']) {
    it(`says that the disk is full at ${code}`, () => {
      const explained = explainFailure(Object.assign(new Error('write'), { code }), '/store/trials/1') as UserError;
      assert.ok(explained instanceof UserError);
      assert.match(explained.message, /^\/store\/trials\/1: the disk is full/);
    });
  }

  for (const message of ['Array buffer allocation failed', 'Invalid typed array length: 9999999999', 'std::bad_alloc', 'Failed to allocate memory for requested buffer of size 4096', 'Aborted(). Cannot enlarge memory arrays']) {
    it(`says that memory is short at "${message}"`, () => {
      assert.match((explainFailure(new RangeError(message), '/store') as UserError).message, /not enough memory .*\n.*smaller recipe\.batchSize/);
    });
  }

  it('leaves a UserError and a defect as they are', () => {
    const known = new UserError({ what: 'known' }), defect = new TypeError('x is not a function');
    assert.equal(explainFailure(known, '/store'), known);
    assert.equal(explainFailure(defect, '/store'), defect);
  });
});
