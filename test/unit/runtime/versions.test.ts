import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compilerRemedy, wheelFits, type Platform } from '../../../src/runtime/platform';
import { possibleRuntimes, type PossibleOptions } from '../../../src/runtime/overview';
import { comparePython, isPreRelease, requirements, satisfies } from '../../../src/runtime/versions';

describe('versions of Python packages', () => {
  it('have an order', () => {
    const ordered = ['1.0.dev1', '1.0a1', '1.0b2', '1.0rc1', '1.0', '1.0.post1', '1.0.1', '1.9', '1.10', '2.21.0'];
    assert.deepEqual([...ordered].reverse().sort(comparePython), ordered);
    assert.equal(comparePython('2.21', '2.21.0'), 0);
    assert.deepEqual(['2.22.0rc0', '9.28.0.27.dev72339430', '12.9.86', '1.0.post1'].map(isPreRelease), [true, true, false, false]);
  });

  const cases: [version: string, specifier: string, fits: boolean][] = [
    ['12.9.86', '<13.0,>=12.5.82', true], ['13.0', '<13.0,>=12.5.82', false], ['12.5.40', '<13.0,>=12.5.82', false],
    ['13.5.37', '~=13.0', true], ['14.0', '~=13.0', false], ['12.9', '~=13.0', false], ['1.4.9', '~=1.4.2', true], ['1.5', '~=1.4.2', false],
    ['1.2.3', '==1.2.*', true], ['1.3', '==1.2.*', false], ['1.3', '!=1.2.*', true], ['1.2', '==1.2.0', true], ['1.2', '!=1.2', false],
    ['3.0rc1', '<3.0', false], ['1', '', true], ['2', '>1,<=2', true],
  ];
  for (const [version, specifier, fits] of cases) it(`${version} ${fits ? 'is' : 'is not'} ${specifier || 'anything'}`, () => assert.equal(satisfies(version, specifier), fits));

  it('are required by extras', () => {
    const lines = ['numpy>=1.26', 'nvidia-cublas-cu12<13.0,>=12.5.3.2; extra == "and-cuda"', 'Nvidia_NCCL.cu12 (>=2); extra == \'and-cuda\'', 'x>=1; sys_platform == "win32"', 'y; extra == "z"'];
    assert.deepEqual(requirements(lines, 'and-cuda'), [{ name: 'nvidia-cublas-cu12', specifier: '<13.0,>=12.5.3.2' }, { name: 'nvidia-nccl-cu12', specifier: '>=2' }]);
    assert.deepEqual(requirements(lines, null), [{ name: 'numpy', specifier: '>=1.26' }]);
  });
});

describe('wheels', () => {
  const debian: Platform = { platform: 'linux', arch: 'x64', glibc: '2.36', macos: null };
  const cases: [tags: string, machine: Partial<Platform>, fits: boolean][] = [
    ['cp311-cp311-manylinux_2_27_x86_64', {}, true], ['cp311-cp311-manylinux_2_27_x86_64', { glibc: '2.26' }, false], ['cp311-cp311-manylinux_2_9_x86_64', { glibc: '2.10' }, true],
    ['cp311-cp311-manylinux_2_27_x86_64', { glibc: null }, false], ['py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64', { glibc: '2.17' }, true],
    ['py3-none-manylinux1_x86_64', { glibc: '2.5' }, true], ['py3-none-manylinux_2_27_aarch64', {}, false], ['py3-none-manylinux_2_27_aarch64', { arch: 'arm64' }, true],
    ['cp312-cp312-macosx_12_0_arm64', { platform: 'darwin', arch: 'arm64', macos: 14 }, true], ['cp312-cp312-macosx_12_0_arm64', { platform: 'darwin', arch: 'arm64', macos: 11 }, false],
    ['cp312-cp312-macosx_12_0_arm64', { platform: 'darwin', macos: 14 }, false], ['cp312-cp312-win_amd64', { platform: 'win32' }, true], ['cp312-cp312-win_amd64', {}, false],
    ['py3-none-any', { platform: 'win32' }, true], ['cp312-cp312-musllinux_1_2_x86_64', {}, false],
  ];
  for (const [tags, machine, fits] of cases) {
    it(`${tags} ${fits ? 'fits' : 'does not fit'} ${JSON.stringify(machine)}`, () => assert.equal(wheelFits(`a-1.0-${tags}.whl`, { ...debian, ...machine }), fits));
  }
});

it('a missing compiler is installed by the distribution\'s own command', () => {
  assert.match(compilerRemedy('linux', 'ID=debian\n'), /sudo apt install g\+\+/);
  assert.match(compilerRemedy('linux', 'ID="rocky"\nID_LIKE="rhel centos fedora"\n'), /sudo dnf install gcc-c\+\+/);
  assert.match(compilerRemedy('linux', 'ID=nixos\n'), /g\+\+ or clang\+\+/);
  assert.match(compilerRemedy('darwin'), /xcode-select --install/);
});

it('the doctor offers what the machine can use and does not have', () => {
  const debian: Platform = { platform: 'linux', arch: 'x64', glibc: '2.36', macos: null };
  const driver = { version: '580.1', gpus: ['NVIDIA L4'] };
  const offers = (options: Partial<PossibleOptions>) => possibleRuntimes({ runtimes: [], kernels: true, driver: null, machine: debian, ...options }).map(text => /install ([^)]*)/.exec(text)![1]);
  assert.deepEqual(offers({}), ['tensorflow']);
  assert.deepEqual(offers({ driver }), ['tensorflow --gpu', 'cuda']);
  assert.deepEqual(offers({ driver, runtimes: [{ kind: 'tensorflow', gpu: true }] }), ['cuda']);
  assert.deepEqual(offers({ driver, runtimes: [{ kind: 'tensorflow', gpu: false }, { kind: 'cuda', gpu: true }] }), ['tensorflow --gpu']);
  assert.deepEqual(offers({ runtimes: [{ kind: 'tensorflow', gpu: true }] }), []);
  assert.deepEqual(offers({ kernels: false }), ['tensorflow', 'kernels']);
  assert.deepEqual(offers({ kernels: false, machine: { ...debian, platform: 'win32', glibc: null } }), []);
  assert.deepEqual([{ ...debian, glibc: null }, { ...debian, platform: 'win32' as const, glibc: null }].flatMap(machine => offers({ machine, driver })), []);
});
