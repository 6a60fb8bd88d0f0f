/** What the panel's page may load, and which files it may open. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, it } from 'node:test';
import { UserError } from '../../../src/common/errors';
import { panelHtml } from '../../../src/extension/panel-html';
import { readableRoots, resolveSample } from '../../../src/extension/sample-paths';

const disk = path.parse(process.cwd()).root;
const at = (...parts: string[]) => path.join(disk, ...parts);
const set = (name: string, root: string) => ({ name, root, classes: [], classCounts: {} });

describe('panelHtml', () => {
  it('allows two files, pictures, and nothing inline but with the nonce', () => {
    const html = panelHtml({ script: 'https://x/panel.js', style: 'https://x/panel.css', source: 'https://x', nonce: 'abc' });
    const [, policy] = /Content-Security-Policy" content="([^"]+)"/.exec(html)!;
    assert.equal(policy, "default-src 'none'; img-src https://x; font-src https://x; style-src https://x 'nonce-abc'; script-src 'nonce-abc'");
    assert.match(html, /<meta property="csp-nonce" content="abc">/);
    assert.match(html, /<script nonce="abc" src="https:\/\/x\/panel.js"><\/script>/);
  });
});

describe('the panel\'s files', () => {
  const dataSets = [set('a', at('data', 'a')), set('b', at('other', 'b')), set('all', disk)];

  it('are those of the data sets, never of the whole disk, in restricted mode only inside the workspace', () => {
    assert.deepEqual(readableRoots(dataSets, null), [at('data', 'a'), at('other', 'b')]);
    assert.deepEqual(readableRoots(dataSets, [at('data')]), [at('data', 'a')]);
    assert.deepEqual(readableRoots(dataSets, [at('dat')]), []);
  });

  it('lie inside their data set', () => {
    assert.equal(resolveSample(dataSets, { dataSet: 'a', path: 'x/1.png' }, null), at('data', 'a', 'x', '1.png'));
    for (const sample of [
      { dataSet: 'a', path: '../secret' }, { dataSet: 'a', path: 'x/../../secret' }, { dataSet: 'a', path: at('etc', 'passwd') },
      { dataSet: 'none', path: 'x' }, { dataSet: 'all', path: 'x' },
    ]) assert.throws(() => resolveSample(dataSets, sample, null), UserError, JSON.stringify(sample));
    assert.throws(() => resolveSample(dataSets, { dataSet: 'b', path: '1.png' }, [at('data')]), /may not be opened/);
  });
});
