import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { doctorPage, type DoctorReport } from '../../../src/extension/doctor-page';

const engine = { id: 'graph', available: true, correct: true, gradientError: 1e-6, msPerStep: 11.75, chosen: true, why: 'the fastest' };

describe('doctorPage', () => {
  it('shows the chosen engine, the reasons of the others and the machine', () => {
    const page = doctorPage({
      report: { engines: [engine, { ...engine, id: 'wasm', available: false, msPerStep: null, chosen: false, why: 'a|b <c>' }], machine: { cacheFolder: '/cache', executable: '/usr/bin/node', cores: 2, memoryGiB: 8 } },
      executable: '/usr/bin/node', log: '',
    });
    assert.match(page, /uses the engine \*\*graph\*\*/);
    assert.match(page, /\| \*\*graph\*\* \(chosen\) \| yes \| yes \| 11\.8 \| the fastest \|/);
    assert.match(page, /\| wasm \| no \| {2}\| {2}\| a\\\|b &lt;c> \|/);
    assert.match(page, /\| cores \| 2 \|/);
    assert.match(page, /\| memory GiB \| 8 \|/);
    assert.match(page, /\| cache folder \| \/cache \|/);
    assert.equal(page.split('/usr/bin/node').length, 2);
    assert.doesNotMatch(page, /## Log/);
  });

  it('tells of runtimes that are installed, and of those that could be', () => {
    const page = (runtimes: NonNullable<DoctorReport['runtimes']>) => doctorPage({ report: { engines: [engine], runtimes }, executable: 'node', log: '' });
    const both = page({ installed: [{ title: 'TensorFlow 2.21.0', folder: '/r', works: false, says: 'no|thing' }], possible: ['For X: CUDA (peft-lab runtime install cuda).'] });
    assert.match(both, /## Runtimes\n\n\| runtime [^]*\| TensorFlow 2\.21\.0 \| no \| no\\\|thing \| \/r \|\n\n- For X: CUDA[^]*Install GPU Runtime[^]*\n## Trainer/);
    assert.match(page({ installed: [], possible: [] }), /None is installed, and none fits/);
    assert.doesNotMatch(both, /\[object|"installed"/);
  });

  it('says so when no engine works, and keeps a log from breaking out of its block', () => {
    const page = doctorPage({ report: { engines: [{ ...engine, chosen: false }] }, executable: 'node', log: '```\n# x' });
    assert.match(page, /No engine works/);
    assert.equal(page.split('```').length, 3);
  });
});
