import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, it } from 'node:test';
import { cacheFolder } from '../../../src/common/paths';
import { canonicalJson } from '../../../src/common/trial-id';

describe('cacheFolder', () => {
  it('is where each system keeps such things, unless PEFT_LAB_CACHE says otherwise', () => {
    const home = path.resolve('/home/a');
    const on = (platform: NodeJS.Platform, environment = {}) => path.relative(home, cacheFolder({ platform, environment, home })).replaceAll('\\', '/');
    assert.equal(on('linux'), '.cache/peft-lab');
    assert.equal(on('linux', { XDG_CACHE_HOME: path.join(home, 'x') }), 'x/peft-lab');
    assert.equal(on('darwin'), 'Library/Caches/peft-lab');
    assert.equal(on('win32', { LOCALAPPDATA: path.join(home, 'L') }), 'L/peft-lab/Cache');
    assert.equal(on('win32', { PEFT_LAB_CACHE: path.join(home, 'mine') }), 'mine');
  });
});

describe('canonicalJson', () => {
  it('is one text for equal values', () => {
    assert.equal(canonicalJson({ b: [{ d: 1, c: null }], a: undefined }), '{"b":[{"c":null,"d":1}]}');
    assert.equal(canonicalJson({ a: { y: 1, x: 2 } }), canonicalJson({ a: { x: 2, y: 1 } }));
  });
});
