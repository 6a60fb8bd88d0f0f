import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import sharp from 'sharp';
import { reportPage, writeReportPage } from '../../../src/cli/report-page';
import { listedPictures } from '../../../src/cli/report-pictures';
import { UserError } from '../../../src/common/errors';
import type { PanelIntent } from '../../../src/common/panel-messages';
import type { Snapshot } from '../../../src/common/snapshot';
import { openBrowser } from '../../fixtures/browser';
import { fakeSnapshot } from '../../fixtures/snapshot';
import { temporaryFolder } from '../store/fixtures';

const bundle = path.resolve('dist/webview');

/** The page as the editor makes it: the strictest policy that the panel is to live with, and the editor's three functions. */
function editorPage(folder: string): string {
  const file = path.join(folder, 'panel.html');
  for (const name of ['panel.js', 'panel.css']) fs.copyFileSync(path.join(bundle, name), path.join(folder, name));
  fs.writeFileSync(file, `<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
    <meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src file:; style-src file: 'nonce-n'; script-src 'nonce-n'">
    <meta property="csp-nonce" content="n"><link rel="stylesheet" href="panel.css"></head><body>
    <script nonce="n">window.sent = []; window.acquireVsCodeApi = () => ({
      postMessage: m => sent.push(m), getState: () => JSON.parse(sessionStorage.getItem('state')), setState: s => sessionStorage.setItem('state', JSON.stringify(s)) });</script>
    <script nonce="n" src="panel.js"></script></body></html>`);
  return pathToFileURL(file).href;
}

/** An open panel that has got its first snapshot. Whatever the page complains about fails the test in the end. */
async function openPanel(t: TestContext, snapshot: Snapshot = fakeSnapshot()) {
  const browser = await openBrowser(t);
  if (!browser) return null;
  const { page, complaints } = await openPage(browser, editorPage(temporaryFolder(t)));
  const send = (s: Snapshot) => page.evaluate(message => window.postMessage(message, '*'), { type: 'snapshot', snapshot: s, thumbnails: { '/data/flowers/images': 'file:///data' } });
  const sent = () => page.evaluate(() => (window as unknown as { sent: PanelIntent[] }).sent);
  await send(snapshot);
  await page.getByRole('heading', { name: snapshot.study.name, exact: true }).waitFor();
  return { page, send, sent, complaints };
}

async function openPage(browser: Browser, address: string): Promise<{ page: Page; complaints: string[] }> {
  const page = await (await browser.newContext({ viewport: { width: 1200, height: 900 } })).newPage();
  page.setDefaultTimeout(10_000);
  const complaints: string[] = [];
  page.on('pageerror', error => complaints.push(error.message));
  // The pictures of these tests do not exist.
  page.on('console', message => { if (message.type() === 'error' && !message.text().includes('ERR_FILE_NOT_FOUND')) complaints.push(message.text()); });
  await page.goto(address);
  return { page, complaints };
}

const rows = (page: Page) => page.locator('.trials tbody th').allInnerTexts();
/** `trim` since a warning sign may follow the name. */
const names = async (page: Page) => (await rows(page)).map(text => text.trim());

describe('the panel', () => {
  it('sorts and filters the trials under a strict policy', async t => {
    const panel = await openPanel(t);
    if (!panel) return;
    const { page, complaints, sent } = panel;
    assert.deepEqual(await sent(), [{ type: 'ready' }]);
    assert.equal((await names(page)).length, 12);
    await page.getByRole('button', { name: 'Test', exact: true }).click();
    assert.equal((await names(page))[0], 'adaptformer bottleneck=64');
    assert.equal(await page.locator('th[aria-sort=descending]').innerText().then(s => s.replace(/[^a-z]/gi, '')), 'Test');
    await page.locator('vscode-text-field input').fill('lora rank');
    assert.deepEqual(await names(page), ['lora rank=8', 'lora rank=32', 'lora rank=2']);
    await page.getByRole('button', { name: 'Clear Filters' }).click();
    await page.getByRole('combobox', { name: 'Status' }).click();
    await page.getByRole('option', { name: 'failed' }).click();
    assert.deepEqual(await names(page), ['vpt-deep prompts=50']);
    assert.deepEqual(complaints, []);
  });

  it('draws curves of the chosen trials and follows new snapshots', async t => {
    const panel = await openPanel(t);
    if (!panel) return;
    const { page, send, complaints } = panel;
    await page.locator('.loss-chart svg path').first().waitFor({ state: 'attached' });
    assert.equal(await page.locator('.legend li').count(), 6);
    await page.getByRole('checkbox', { name: 'Draw the curves of linear' }).click();
    assert.equal(await page.locator('.legend li').count(), 7);
    const next = fakeSnapshot();
    next.progress.finished = 10;
    await send(next);
    await page.getByText('10 of 12 trials finished').waitFor();
    assert.equal(await page.locator('.legend li').count(), 7);
    assert.deepEqual(complaints, []);
  });

  it('lets nobody lose focus, an open list or half-typed text to a new snapshot', async t => {
    const panel = await openPanel(t);
    if (!panel) return;
    const { page, send } = panel;
    const next = fakeSnapshot();
    next.trials.reverse();
    await page.locator('vscode-text-field input').pressSequentially('lo');
    await send(next);
    await page.keyboard.type('ra');
    assert.equal(await page.locator('vscode-text-field input').inputValue(), 'lora');
    assert.deepEqual(await names(page), ['lora rank=32', 'lora rank=8', 'lora rank=2']);
    await page.getByRole('combobox', { name: 'Status' }).click();
    await send(fakeSnapshot());
    await page.getByRole('option', { name: 'finished' }).click();
    assert.deepEqual(await names(page), ['lora rank=2', 'lora rank=8', 'lora rank=32']);
  });

  it('compares two trials and opens pictures', async t => {
    const panel = await openPanel(t);
    if (!panel) return;
    const { page, sent, complaints } = panel;
    await page.getByRole('tab', { name: 'Mistakes' }).click();
    await page.locator('.confusion-chart svg path').first().waitFor({ state: 'attached' });
    await page.getByRole('combobox', { name: 'Compare with' }).click();
    await page.getByRole('option', { name: /^lora rank=8/ }).click();
    const overlap = fakeSnapshot().overlaps.find(o => [o.a, o.b].sort().join() === 't00000000004,t00000000007')!;
    assert.equal(await page.locator('.part.both .part-count').innerText(), String(overlap.bothWrong));
    assert.match(await page.locator('.tile.strong').innerText(), /98\.5%/);
    await page.locator('.overlap button.thumbnail').first().click();
    const opened = (await sent()).at(-1)!;
    assert.equal(opened.type === 'openFile' && opened.dataSet, 'flowers');
    assert.ok(opened.type === 'openFile' && overlap.examples.bothWrong.some(p => p.path === opened.path));
    await page.getByRole('button', { name: /iris → foxglove/ }).first().click();
    await page.getByRole('heading', { name: /iris taken for foxglove/ }).waitFor();
    assert.deepEqual(complaints, []);
  });

  it('is as it was after a reload', async t => {
    const panel = await openPanel(t);
    if (!panel) return;
    const { page, send, complaints } = panel;
    await page.getByRole('button', { name: 'Parameters', exact: true }).click();
    await page.getByRole('tab', { name: 'Parameters' }).click();
    await page.locator('.parameters-chart svg path').first().waitFor({ state: 'attached' });
    await page.reload();
    await send(fakeSnapshot());
    await page.locator('.parameters-chart svg path').first().waitFor({ state: 'attached' });
    await page.getByRole('tab', { name: 'Sweep' }).click();
    assert.equal((await names(page))[0], 'full');
    assert.deepEqual(complaints, []);
  });

  it('works by the keyboard', async t => {
    const panel = await openPanel(t);
    if (!panel) return;
    const { page } = panel;
    await page.getByRole('tab', { name: 'Sweep' }).focus();
    await page.keyboard.press('ArrowRight');
    await page.getByRole('combobox', { name: 'Compare with' }).focus();
    await page.keyboard.press('ArrowDown');
    await page.locator('.venn').waitFor();
    await page.locator('.part.only-first').focus();
    await page.keyboard.press('Enter');
    assert.equal(await page.locator('.part.only-first').getAttribute('aria-pressed'), 'true');
  });

  it('says what to do when there is nothing to show', async t => {
    const panel = await openPanel(t, fakeSnapshot({ status: 'empty' }));
    if (!panel) return;
    const { page, send, sent } = panel;
    await page.locator('.empty-state').getByRole('button', { name: 'Run Study' }).click();
    assert.deepEqual((await sent()).at(-1), { type: 'run' });
    const failed = fakeSnapshot();
    failed.trials = failed.trials.filter(x => x.status === 'failed');
    await send(failed);
    await page.getByRole('tab', { name: 'Mistakes' }).click();
    await page.getByText('All trials failed').waitFor();
    assert.match(await page.locator('.error-block').innerText(), /not finite/);
  });

  it('shows names as text, never as markup', async t => {
    const snapshot = fakeSnapshot();
    const evil = '<img src=x onerror="window.hacked=1"><b>x</b>';
    snapshot.trials[0]!.label = evil;
    snapshot.dataSets[0]!.classes[0] = evil;
    const panel = await openPanel(t, snapshot);
    if (!panel) return;
    const { page } = panel;
    assert.equal((await names(page))[0], evil);
    await page.getByRole('tab', { name: 'Mistakes' }).click();
    await page.locator('.confusion-chart svg path').first().waitFor({ state: 'attached' });
    assert.equal(await page.evaluate(() => (window as unknown as { hacked?: number }).hacked), undefined);
  });
});

describe('the report page', () => {
  /** Pictures for a few of the fixture's samples. */
  async function writePictures(folder: string, snapshot: Snapshot): Promise<void> {
    for (const { path: name } of listedPictures(snapshot, 5)) {
      const file = path.join(folder, name);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      await sharp({ create: { width: 200, height: 100, channels: 3, background: '#cc3366' } }).jpeg().toFile(file);
    }
  }

  it('opens from the disk, alone, with its pictures and its summary', async t => {
    const browser = await openBrowser(t);
    if (!browser) return;
    const folder = temporaryFolder(t), snapshot = fakeSnapshot({ status: 'finished' });
    snapshot.dataSets[0]!.root = path.join(folder, 'images');
    await writePictures(path.join(folder, 'images'), snapshot);
    const file = path.join(folder, 'report.html');
    await writeReportPage(snapshot, file);
    const { page, complaints } = await openPage(browser, pathToFileURL(file).href);
    const requests: string[] = [];
    page.on('request', request => { if (!request.url().startsWith('data:')) requests.push(request.url()); });
    assert.match(await page.locator('.summary').innerText(), /Best on flowers: adaptformer bottleneck=64, 98\.2% test top-1/);
    assert.equal(await page.getByRole('button', { name: 'Run Study' }).count(), 0);
    await page.getByRole('tab', { name: 'Mistakes' }).click();
    await page.locator('.thumbnail img[src^="data:image/jpeg"]').first().waitFor();
    assert.deepEqual([requests, complaints], [[], []]);
  });

  it('carries no more than its share of pictures, each once', () => {
    const listed = listedPictures(fakeSnapshot());
    assert.ok(listed.length <= 300);
    assert.equal(new Set(listed.map(p => p.path)).size, listed.length);
    assert.equal(listedPictures(fakeSnapshot(), 7).length, 7);
  });

  it('cannot be broken out of by names', () => {
    const snapshot = fakeSnapshot();
    const evil = '</script><script>alert(1)</script><!-- "\'&';
    snapshot.study.name = evil;
    snapshot.trials[0]!.label = evil;
    const page = reportPage({ snapshot, pictures: {}, summary: [evil] }, { script: 'const s = "</script>";', style: '' });
    assert.equal(page.match(/<\/script>/g)!.length, 2);
    assert.ok(!page.includes('<script>alert') && !page.includes('<!--'));
    const json = /id="peft-lab-report">(.*?)<\/script>/s.exec(page)![1]!;
    assert.equal((JSON.parse(json) as { snapshot: Snapshot }).snapshot.trials[0]!.label, evil);
  });

  it('lets nothing in from outside', () => {
    const page = reportPage({ snapshot: fakeSnapshot(), pictures: {}, summary: [] }, { script: '', style: '' });
    const policy = /Content-Security-Policy" content="([^"]*)"/.exec(page)![1]!;
    assert.match(policy, /^default-src 'none'; script-src 'nonce-[^']+'; style-src 'nonce-[^']+'; img-src data:; base-uri 'none'; form-action 'none'$/);
    assert.ok(!/(?:src|href)="http/.test(page));
  });

  it('shows a table without scripts', () => {
    const page = reportPage({ snapshot: fakeSnapshot(), pictures: {}, summary: ['Best on flowers'] }, { script: '', style: '' });
    const noscript = /<noscript>(.*)<\/noscript>/s.exec(page)![1]!;
    assert.match(noscript, /lora rank=8<\/td><td>finished<\/td><td>294,912<\/td>/);
  });

  it('says so when the file cannot be written', async t => {
    const folder = temporaryFolder(t);
    fs.writeFileSync(path.join(folder, 'file'), '');
    await assert.rejects(writeReportPage(fakeSnapshot({ status: 'empty' }), path.join(folder, 'file', 'report.html')), error => error instanceof UserError || error instanceof Error);
  });
});
