/** The product in the editor that it is for: the packaged extension in a real VS Code, used as a researcher would. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { Browser, Locator, Page } from 'playwright-core';
import { integer, percent } from '../../src/common/format';
import type { Trial, TrialResult } from '../../src/common/trial';
import { writeTask } from '../../src/data/drawn/write-task';
import { processIsAlive } from '../../src/common/process-is-alive';
import { lockHolder } from '../../src/store/lock';
import { requestCancel } from '../../src/store/requests';
import { listTrials } from '../../src/store/study-store';
import { storePaths, trialPaths } from '../../src/store/paths';
import { startFakeHub, type FakeHub } from '../fixtures/hub-server';
import { makeZip, startIndex, type FakeIndex } from '../fixtures/wheels';
import { findHost, VsCode } from './host';
import {
  closeNotifications, closeQuickInput, describeWindow, findCommand, goTo, openFile, openWindow, policyViolations, quickInput, quickRows, reload, runCommand, suggestions, tab, webview,
} from './workbench';

const host = findHost();
const skip = 'missing' in host ? host.missing : false;
const methods = ['adaptformer', 'bitfit', 'linear', 'lora', 'vpt-deep'];
const hubToken = 'hf_of_this_test';

describe('PEFT Lab in VS Code', () => {
  let code: VsCode;
  let browser: Browser;
  let page: Page;
  let violations: string[];
  let packages: FakeIndex;
  let hub: FakeHub;
  const closers: (() => Promise<void>)[] = [];
  let isBroken = false;
  const file = (name: string) => path.join(code.workspace, name);

  before(async () => {
    if ('missing' in host) return;
    code = new VsCode(host);
    const vsix = path.join(code.base, 'peft-lab.vsix');
    execFileSync(process.execPath, ['tools/package.mjs', '--out', vsix], { stdio: 'pipe' });
    await writeTask(file('arrows'), { task: 'orientation', counts: { train: 256, val: 96, test: 160 }, seed: 1 });
    packages = await startIndex({ after: close => void closers.push(close as () => Promise<void>) }, cudaWheels());
    hub = await startFakeHub([{
      name: 'lab/drawn-vit', commits: { main: 'a'.repeat(40) }, token: hubToken,
      files: { 'model.safetensors': { content: fs.readFileSync('media/backbone/drawn-vit.safetensors'), isLarge: true } },
    }]);
    closers.push(() => hub.close());
    code.environment = { PEFT_LAB_PYPI: packages.url, HF_ENDPOINT: hub.endpoint, NO_PROXY: '127.0.0.1' };
    code.writeSettings({});
    code.install(vsix);
    await code.start();
    browser = await code.browser();
    page = await openWindow(browser, code.url, code.workspace);
    violations = policyViolations(page);
  });

  after(async () => {
    await browser?.close();
    await code?.stop();
    if (code) await endRuns(code.workspace);
    await code?.remove();
    for (const close of closers) await close();
  });

  /** A step of one story, with a picture of the window, and its words, when it fails; those after it would only fail too. */
  const scenario = (name: string, body: () => Promise<void>) => void it(name, { skip, timeout: 300_000 }, async (t: TestContext) => {
    assert.ok(!isBroken, 'an earlier step failed');
    try {
      await body();
    } catch (error) {
      isBroken = true;
      const picture = path.resolve('dist/test/vscode', `${t.name.replace(/\W+/g, '-')}.png`);
      await page.screenshot({ path: picture }).catch(() => undefined);
      t.diagnostic(`the window: ${picture}`);
      throw new Error(`${(error as Error).message}\n${await describeWindow(page)}`, { cause: error });
    }
  });

  /** Answers the four questions: the drawn images, a backbone, the methods that are suggested, a name. The text that it wrote. */
  const newStudy = async (name: string, chooseBackbone: () => Promise<void>): Promise<string> => {
    await runCommand(page, 'PEFT Lab: New Study');
    await quickRows(page, 'arrows').filter({ hasText: '512 images' }).click();
    await chooseBackbone();
    for (const method of methods) await quickRows(page, method).locator('input:checked, .codicon-check').first().waitFor();
    await page.locator('.quick-input-widget').getByRole('button', { name: 'OK' }).click();
    await quickInput(page).fill(name);
    await page.keyboard.press('Enter');
    await tab(page, `${name}.peft.json`).waitFor();
    return fs.readFileSync(file(`${name}.peft.json`), 'utf8');
  };

  scenario('creates a study from the palette and opens it', async () => {
    const text = await newStudy('arrow methods', () => quickRows(page, 'Embedded small ViT').click());
    assert.match(text, /"path": "arrows"/);
    assert.match(text, /"file": "demo"/);
    for (const method of methods) assert.match(text, new RegExp(`"${method}", +// \\w+`));
    await page.locator('.codelens-decoration a', { hasText: 'Run' }).waitFor();
    assert.equal(await page.locator('.squiggly-error, .squiggly-warning').count(), 0);
  });

  scenario('offers the options of the chosen method, and shows what is wrong', async () => {
    fs.writeFileSync(file('typo.peft.json'), [
      '{', '  "backbone": { "file": "demo" },', '  "data": [{ "path": "arrows" }],',
      '  "methods": [', '    { "method": "lora", "options": {  } },', '  ],', '  "recipe": { "epohcs": 3 },', '}', '',
    ].join('\n'));
    await openFile(page, 'typo.peft.json');
    await goTo(page, 5, 37);
    await page.keyboard.type('"');
    const offered = await suggestions(page, ['rank', 'alpha', 'dropout', 'targets']);
    assert.equal(await offered.filter({ hasText: 'bottleneck' }).count(), 0);
    await page.keyboard.press('Escape');
    await page.keyboard.press('Control+Z');
    await page.locator('.tab.active:not(.dirty)').waitFor();
    await page.keyboard.press('Control+Shift+M');
    const problem = page.locator('.markers-panel .monaco-list-row').filter({ hasText: 'PEFT Lab' });
    await problem.filter({ hasText: 'epohcs' }).filter({ hasText: '"epochs"' }).waitFor();
    await runCommand(page, 'PEFT Lab: Run Study');
    await page.locator('.notification-toast', { hasText: 'typo.peft.json has a problem' }).waitFor();
    assert.equal(fs.existsSync(file('typo.peft')), false);
    await closeNotifications(page);
    fs.rmSync(file('typo.peft.json'));
    await runCommand(page, 'View: Close All Editors');
    await page.keyboard.press('Control+J'); // the problems again
  });

  scenario('runs the study while the panel fills, and shows the numbers of the results', async () => {
    shorten(file('arrow methods.peft.json'), 4);
    await openFile(page, 'arrow methods.peft.json');
    await page.locator('.codelens-decoration a', { hasText: 'Run' }).click();
    const panel = webview(page);
    await panel.getByRole('heading', { name: 'arrow methods' }).waitFor();
    await page.locator('.statusbar-item', { hasText: 'PEFT' }).waitFor();
    await page.locator('.notification-toast', { hasText: 'PEFT Lab: arrow methods' }).getByRole('button', { name: 'Cancel' }).waitFor();
    await panel.locator('.status-running').first().waitFor({ timeout: 60_000 });
    await panel.locator('[aria-label^="Training loss"] svg path').first().waitFor({ state: 'attached' });
    await panel.getByText(/^5 trials finished\.$/).waitFor({ timeout: 240_000 });
    await page.locator('.notification-toast', { hasText: 'all 5 trials finished' }).waitFor();
    await page.locator('.statusbar-item', { hasText: 'PEFT' }).waitFor({ state: 'hidden' });
    const results = readResults(file('arrow methods.peft'));
    assert.deepEqual(results.map(r => r.trial.method.id).sort(), methods);
    for (const { trial, result } of results) {
      const row = panel.locator('table.trials tbody tr').filter({ has: panel.getByRole('rowheader', { name: trial.method.id }) });
      const cells = await row.locator('td.number').allInnerTexts();
      const { parameters, last } = result;
      assert.deepEqual(cells.slice(0, 3), [integer(parameters.trainable), percent(last.validation!.top1), percent(last.test!.top1)], trial.method.id);
    }
    await closeNotifications(page);
  });

  scenario('compares the mistakes of two trials; a thumbnail opens its file', async () => {
    const panel = webview(page);
    await panel.getByRole('tab', { name: 'Mistakes' }).click();
    await choose(panel.locator('vscode-dropdown[aria-label="Compare with"]'), 1);
    const counts = await panel.locator('.venn .part-count').allInnerTexts();
    assert.equal(counts.length, 3);
    const image = panel.locator('.gallery img').first();
    await image.waitFor();
    await image.evaluate((element: HTMLImageElement) => element.decode());
    assert.equal(await image.evaluate((element: HTMLImageElement) => element.naturalWidth), 64);
    const title = await panel.locator('.gallery .thumbnail').first().getAttribute('title');
    await panel.locator('.gallery .thumbnail').first().click();
    await tab(page, path.basename(title!)).waitFor();
    await runCommand(page, 'View: Close Editor');
    await panel.getByRole('tab', { name: 'Parameters' }).click();
    await panel.locator('[aria-label^="Trained parameters"] svg path').first().waitFor({ state: 'attached' });
    assert.deepEqual(violations, []);
  });

  scenario('brings the panel back after a reload, and finds a run that outlived the window and the editor', async () => {
    const long = file('long.peft.json');
    fs.writeFileSync(long, fs.readFileSync(file('arrow methods.peft.json'), 'utf8').replace('"epochs": 4', '"epochs": 3000'));
    await openFile(page, 'long.peft.json');
    await runCommand(page, 'PEFT Lab: Run Study');
    await webview(page).locator('.status-running').first().waitFor({ timeout: 60_000 });
    const launcher = lockHolder(file('long.peft'))!;
    await page.waitForTimeout(8000); // in a browser the editor writes down what is open every five seconds
    await reload(page);
    await webview(page).getByRole('heading', { name: 'long' }).waitFor({ timeout: 60_000 });
    await page.locator('.statusbar-item', { hasText: 'PEFT 1/5' }).waitFor();

    await page.context().close();
    await code.stop();
    assert.ok(processIsAlive(launcher.pid), 'the launcher outlives the editor');
    await code.start();
    page = await openWindow(browser, code.url, code.workspace);
    await page.locator('.statusbar-item', { hasText: 'PEFT 1/5' }).waitFor({ timeout: 60_000 });
    await runCommand(page, 'PEFT Lab: Cancel');
    await page.locator('.statusbar-item', { hasText: 'PEFT 1/5' }).waitFor({ state: 'hidden', timeout: 60_000 });
    await page.locator('.notification-toast', { hasText: 'long: stopped after 0 of 5 trials' }).waitFor();
    assert.equal(lockHolder(file('long.peft')), null);
    const [first] = listTrials(file('long.peft')).map(id => trialPaths(storePaths(file('long.peft')).trial(id))).filter(paths => fs.existsSync(paths.attempts));
    assert.ok(fs.existsSync(first!.checkpoint), 'a checkpoint is left to go on from');
    await closeNotifications(page);
  });

  scenario('shows which engines the trainer has', async () => {
    await runCommand(page, 'PEFT Lab: Doctor');
    const preview = webview(page);
    await preview.getByRole('heading', { name: 'PEFT Lab Doctor' }).waitFor({ timeout: 120_000 });
    await preview.getByRole('cell', { name: /^(native|graph) \(chosen\)$/ }).waitFor();
    assert.equal(await preview.getByRole('row').filter({ hasText: 'wasm' }).count(), 1);
    await preview.getByRole('row', { name: /executable/ }).first().waitFor();
  });

  scenario('installs a runtime after saying what it takes; stopped, it goes on from there', async () => {
    const dialog = page.locator('.monaco-dialog-box');
    const ask = async () => {
      await runCommand(page, 'PEFT Lab: Install GPU Runtime');
      await quickRows(page, 'ONNX Runtime with CUDA').click();
      await dialog.getByText(/^Download .* and install\?/).waitFor({ timeout: 60_000 });
    };
    await ask();
    assert.match(await dialog.innerText(), /onnxruntime-gpu 1\.30\.0 \([^]*nvidia-fake 13\.1[^]*From 127\.0\.0\.1:\d+, checked by SHA-256, into [^]*peft-lab\.peft-lab/i);
    packages.behaviours.push('stall');
    await dialog.getByRole('button', { name: 'Install' }).click();
    const toast = page.locator('.notification-toast', { hasText: 'installing ONNX Runtime with CUDA' });
    await toast.filter({ hasText: 'downloading onnxruntime-gpu' }).waitFor();
    await toast.getByRole('button', { name: 'Cancel' }).click();
    await page.locator('.notification-toast', { hasText: 'stopped. What was fetched is kept' }).waitFor();
    await closeNotifications(page);
    await ask();
    await dialog.getByRole('button', { name: 'Install' }).click();
    await page.locator('.notification-toast', { hasText: 'is installed, but does not work here yet' }).waitFor({ timeout: 60_000 });
    const wheels = packages.requests.filter(({ path: asked, range }) => /onnxruntime_gpu.*\.whl$/.test(asked) && !/-\d+$/.test(range ?? ''));
    assert.deepEqual(wheels.map(({ range }) => /^bytes=[1-9]/.test(range ?? '')), [false, true]);
    await closeNotifications(page);
  });

  scenario('starts from a backbone of the hub that only a token opens, which the editor keeps', async () => {
    const study = await newStudy('from the hub', async () => {
      await quickRows(page, 'Hugging Face hub...').click();
      await quickInput(page).fill('drawn-vit');
      await page.locator('.quick-input-widget').getByText('Write it like owner/name').waitFor();
      await quickInput(page).fill('lab/drawn-vit');
      await page.keyboard.press('Enter');
    });
    assert.match(study, /"backbone": \{ "hub": "lab\/drawn-vit" \}/);
    fs.writeFileSync(file('from the hub.peft.json'), study.replace('"epochs": 20', '"epochs": 1').replace(/"methods": \[[^\]]*\]/, '"methods": ["linear"]'));
    await openFile(page, 'from the hub.peft.json');

    await runCommand(page, 'PEFT Lab: Run Study');
    await page.locator('.notification-toast', { hasText: 'private or gated, and no token is given' }).filter({ hasText: 'PEFT Lab: Set Hugging Face Token' }).waitFor({ timeout: 60_000 });
    assert.deepEqual([...new Set(hub.requests.map(({ authorization }) => authorization))], [undefined]);
    await closeNotifications(page);

    await runCommand(page, 'PEFT Lab: Set Hugging Face Token');
    await page.locator('.quick-input-widget input[type="password"]').fill(hubToken);
    await page.keyboard.press('Enter');
    await page.locator('.notification-toast', { hasText: 'the token is stored' }).waitFor();
    await closeNotifications(page);
    await runCommand(page, 'PEFT Lab: Run Study');
    await page.locator('.notification-toast', { hasText: 'the trial finished' }).waitFor({ timeout: 120_000 });
    assert.deepEqual(new Set(hub.requests.filter(({ host: asked }) => asked === 'store').map(({ authorization }) => authorization)), new Set([undefined]));
    const text = filesBelow(file('from the hub.peft')).map(name => fs.readFileSync(name, 'latin1')).join();
    assert.equal(text.includes(hubToken), false, 'the token stands in no file of the study');
    await closeNotifications(page);
  });

  scenario('shows results in restricted mode, and runs nothing', async () => {
    await page.context().close();
    await code.stop();
    code.writeSettings({ 'security.workspace.trust.enabled': true, 'security.workspace.trust.startupPrompt': 'always' });
    await code.start();
    page = await openWindow(browser, code.url, code.workspace);
    const dialog = page.locator('.monaco-dialog-box');
    await dialog.getByRole('button', { name: /^No/ }).click();
    await page.locator('.statusbar-item', { hasText: 'Restricted Mode' }).waitFor();
    await openFile(page, 'arrow methods.peft.json');
    await findCommand(page, 'PEFT Lab: Show Results');
    await quickInput(page).fill('>PEFT Lab: ');
    await quickRows(page, 'PEFT Lab: Show Results').waitFor();
    assert.equal(await quickRows(page, 'PEFT Lab: Run Study').count(), 0);
    await closeQuickInput(page);
    await runCommand(page, 'PEFT Lab: Show Results');
    const panel = webview(page);
    await panel.getByText(/^5 trials finished\.$/).waitFor();
    await panel.getByRole('button', { name: 'Run Study' }).click();
    await page.locator('.notification-toast', { hasText: 'do not run in restricted mode' }).waitFor();
  });
});

/** ONNX Runtime with CUDA as PyPI has it, but with nothing in its libraries. */
function cudaWheels() {
  const { version } = JSON.parse(fs.readFileSync('node_modules/onnxruntime-node/package.json', 'utf8')) as { version: string };
  const libraries = [`libonnxruntime.so.${version}`, 'libonnxruntime_providers_cuda.so', 'libonnxruntime_providers_shared.so'];
  const requires = ['nvidia-fake~=13.0; extra == "cuda"'];
  return [
    { name: 'onnxruntime-gpu', version, tags: 'cp312-cp312-manylinux_2_28_x86_64', requires, content: makeZip(libraries.map(name => ({ name: `onnxruntime/capi/${name}`, data: name.repeat(2000) }))) },
    { name: 'nvidia-fake', version: '13.1', content: makeZip([{ name: 'nvidia/cu13/lib/libfake.so.13', data: 'x'.repeat(3000) }]) },
  ];
}

/** What a failed test left running: a launcher outlives the editor, and would outlive the test. */
async function endRuns(workspace: string): Promise<void> {
  const stores = fs.readdirSync(workspace).filter(name => name.endsWith('.peft')).map(name => path.join(workspace, name));
  for (const store of stores) {
    if (lockHolder(store)) requestCancel(store);
    for (const end = Date.now() + 30_000; lockHolder(store) && Date.now() < end;) await new Promise(resolve => setTimeout(resolve, 200));
  }
}

function filesBelow(folder: string): string[] {
  return fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile()).map(entry => path.join(entry.parentPath, entry.name));
}

/** Opens a list of the toolkit and takes its option of that number. */
async function choose(list: Locator, index: number): Promise<void> {
  await list.click();
  await list.locator('vscode-option').nth(index).click();
}

function shorten(study: string, epochs: number): void {
  fs.writeFileSync(study, fs.readFileSync(study, 'utf8').replace('"epochs": 20', `"epochs": ${epochs}`).replace('"learningRate": 0.001', '"learningRate": 0.003'));
}

function readResults(store: string): { trial: Trial; result: TrialResult }[] {
  return listTrials(store).map(id => {
    const paths = trialPaths(storePaths(store).trial(id));
    return { trial: JSON.parse(fs.readFileSync(paths.trial, 'utf8')) as Trial, result: JSON.parse(fs.readFileSync(paths.result, 'utf8')) as TrialResult };
  });
}
