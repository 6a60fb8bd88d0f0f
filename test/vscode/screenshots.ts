/**
 * Takes the README's pictures from a folder with a study that was run: tools/screenshots.mjs bundles and starts it.
 * Arguments: the packaged extension, the study file, the folder for the pictures.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Locator, Page } from 'playwright-core';
import sharp from 'sharp';
import { findHost, VsCode } from './host';
import { goTo, openFile, openWindow, runCommand, suggestions, webview } from './workbench';

void main(process.argv[2]!, path.resolve(process.argv[3]!), process.argv[4]!);

async function main(vsix: string, study: string, folder: string): Promise<void> {
  const host = findHost();
  if ('missing' in host) throw new Error(host.missing);
  const code = new VsCode(host);
  code.writeSettings({ 'breadcrumbs.enabled': false });
  code.install(vsix);
  await code.start();
  const browser = await code.browser();
  try {
    const page = await openWindow(browser, code.url, path.dirname(study));
    await page.setViewportSize({ width: 1280, height: 860 });
    await takeAll(page, study, (name: string) => take(page, path.join(folder, `${name}.png`)));
  } finally {
    await browser.close();
    await code.stop();
    await code.remove();
  }
}

async function takeAll(page: Page, study: string, shoot: (name: string) => Promise<void>): Promise<void> {
  await openFile(page, path.basename(study));
  await page.locator('.codelens-decoration a', { hasText: 'Run' }).waitFor();
  await completeOption(page, study);
  await shoot('study');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+Z');
  await runCommand(page, 'File: Revert File');
  await runCommand(page, 'PEFT Lab: Show Results');
  const panel = webview(page);
  await panel.locator('[aria-label^="Training loss"] svg path').first().waitFor({ state: 'attached' });
  await runCommand(page, 'View: Close Other Editors in Group');
  await runCommand(page, 'View: Toggle Primary Side Bar Visibility');
  await shoot('sweep');
  await panel.getByRole('tab', { name: 'Mistakes' }).click();
  await choose(panel.locator('vscode-dropdown[aria-label="Compare with"]'), /^vpt|^bitfit/);
  await panel.locator('.gallery img').first().waitFor();
  await shoot('mistakes');
  await panel.getByRole('tab', { name: 'Parameters' }).click();
  await panel.locator('[aria-label^="Trained parameters"] svg path').first().waitFor({ state: 'attached' });
  await shoot('parameters');
}

/** Offers the other options of the method whose rank is searched. */
async function completeOption(page: Page, study: string): Promise<void> {
  const lines = fs.readFileSync(study, 'utf8').split('\n');
  const line = lines.findIndex(text => text.includes('"rank"'));
  const column = lines[line]!.indexOf('] }') + '] }'.length;
  await goTo(page, line + 1, column + 1);
  await page.keyboard.type(', "');
  await suggestions(page, ['alpha']);
  await page.keyboard.press('Control+Space'); // the explanation beside it
}

async function choose(list: Locator, name: RegExp): Promise<void> {
  await list.click();
  await list.locator('vscode-option').filter({ hasText: name }).first().click();
}

/** With 256 colours a picture has a third of the bytes. */
async function take(page: Page, file: string): Promise<void> {
  await page.mouse.move(640, 855);
  await page.waitForTimeout(1000); // charts and the editor's own animations come to rest
  fs.mkdirSync(path.dirname(file), { recursive: true });
  await sharp(await page.screenshot()).png({ palette: true, colours: 256, compressionLevel: 9 }).toFile(file);
}
