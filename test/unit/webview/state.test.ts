import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isPanelIntent } from '../../../src/common/panel-messages';
import { pictureUnder } from '../../../webview/host';
import { initialState, restoreState } from '../../../webview/state';
import { fakeSnapshot } from '../../fixtures/snapshot';

describe('restoreState', () => {
  it('returns what was saved', () => {
    const saved = { ...initialState, tab: 'mistakes' as const, selected: ['a'], cell: { trial: 'a', label: 1, predicted: 2 }, scroll: 120 };
    assert.deepEqual(restoreState(JSON.parse(JSON.stringify(saved))), saved);
  });

  it('begins anew with nothing saved', () => assert.deepEqual(restoreState(undefined), initialState));

  it('ignores what another version saved', () => {
    assert.deepEqual(restoreState({ tab: 'gone', sort: 'test', selected: [1], cell: {}, scroll: '3', first: 4, extra: true }), initialState);
  });
});

describe('isPanelIntent', () => {
  it('knows the intents', () => assert.ok(isPanelIntent({ type: 'openFile', path: 'a/b.jpg', dataSet: 'flowers' })));
  it('refuses everything else', () => {
    for (const message of [null, 'run', {}, { type: 'delete' }, { type: 'openFile', path: 3 }]) assert.equal(isPanelIntent(message), false);
  });
});

describe('pictureUnder', () => {
  const picture = pictureUnder(fakeSnapshot(), { '/data/flowers/images': 'https://host/root/' });
  it('escapes every part of the path', () => assert.equal(picture('flowers', 'a b/100%#1.jpg'), 'https://host/root/a%20b/100%25%231.jpg'));
  it('knows no picture of a data set that the host does not serve', () => assert.equal(picture('other', 'a.jpg'), null));
});
