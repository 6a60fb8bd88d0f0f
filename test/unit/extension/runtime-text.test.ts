import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { installOutcome, installProgress, planQuestion } from '../../../src/extension/runtime-text';

const plan = {
  kind: 'tensorflow', version: '2.21.0', gpu: true, folder: '/storage/runtimes/x', downloadBytes: 3.4e9, unpackedBytes: 5.6e9, installed: false,
  remarks: ['No NVIDIA driver was found.'], problems: [], wheels: [{ name: 'tensorflow', version: '2.21.0', bytes: 572e6, host: 'pypi.org' }, { name: 'nvidia-nccl-cu12', version: '2.32.3', bytes: 2.5e6, host: 'pypi.org' }],
};

describe('installing a runtime', () => {
  it('is asked with what is fetched, from where, how large it is and where it comes to lie', () => {
    const { message, detail } = planQuestion(plan);
    assert.equal(message, 'Download 3.4 GB and install? It takes 5.6 GB on disk.');
    assert.equal(planQuestion({ ...plan, downloadBytes: 0 }).message, 'Install what was fetched? It takes 5.6 GB on disk.');
    assert.deepEqual(planQuestion({ ...plan, downloadBytes: 0, unpackedBytes: 1e6, wheels: [], remarks: ['Compiled here.'] }), {
      message: 'Install without a download? It takes 1.0 MB on disk.', detail: 'Into /storage/runtimes/x.\n\nCompiled here.',
    });
    assert.equal(detail, 'tensorflow 2.21.0 (572 MB), nvidia-nccl-cu12 2.32.3 (2.5 MB)\n\nFrom pypi.org, checked by SHA-256, into /storage/runtimes/x.\n\nNo NVIDIA driver was found.');
  });

  it('tells how far it is from the lines of the command, and leaves other lines alone', () => {
    const line = (progress: object) => JSON.stringify({ progress: { phase: 'downloading', detail: 'tensorflow', done: 1e9, total: 3.4e9, bytesPerSecond: 12.5e6, fraction: 0.25, ...progress } });
    assert.deepEqual(installProgress(line({})), { message: 'downloading tensorflow: 1.0 GB of 3.4 GB, 13 MB/s', share: 0.25 });
    assert.deepEqual(installProgress(line({ phase: 'building', detail: '', fraction: 0.96 })), { message: 'building', share: 0.96 });
    assert.deepEqual(['Asking ...', '{"progress": torn', ''].map(installProgress), [null, null, null]);
  });

  it('ends in words', () => {
    const end = (stdout: unknown, code: number | null = 0, stderr = '') => installOutcome({ title: 'TensorFlow', stdout: typeof stdout === 'string' ? stdout : JSON.stringify(stdout), stderr, code });
    assert.deepEqual(end({ runtime: { check: { works: true, says: 'it computes' } } }), { kind: 'done', message: 'TensorFlow is installed: it computes.' });
    assert.deepEqual(end({ runtime: { check: { works: false, says: 'There is no driver.' } } }).kind, 'warning');
    assert.equal(end({ cancelled: true }, 130).kind, 'cancelled');
    assert.equal(end('', 130).kind, 'cancelled');
    assert.equal(end({ error: { what: 'no compiler', where: null, remedy: 'Install one' } }, 2).message, 'TensorFlow is not installed: no compiler. Install one');
    assert.match(end('', 1, 'a\nb\n').message, /ended with code 1: b$/);
  });
});
