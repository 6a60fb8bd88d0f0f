/** What one does in a VS Code window, for tests. Waits are Playwright's: each ends in 20 seconds or in an error. */
import type { Browser, FrameLocator, Locator, Page } from 'playwright-core';

/** A fresh window: nothing remembered by the browser, no trust given. */
export async function openWindow(browser: Browser, url: string, folder: string): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1400, height: 900 }, locale: 'en-US' });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  await page.goto(`${url}/?folder=${encodeURIComponent(folder)}`, { waitUntil: 'domcontentloaded' });
  await ready(page);
  return page;
}

export async function reload(page: Page): Promise<void> {
  await page.reload({ waitUntil: 'domcontentloaded' });
  await ready(page);
}

async function ready(page: Page): Promise<void> {
  await page.locator('.monaco-workbench').waitFor({ timeout: 60_000 });
  await page.locator('.statusbar-item').first().waitFor({ timeout: 60_000 });
}

/** Rows of the open quick pick. */
export function quickRows(page: Page, text: string): Locator {
  return page.locator('.quick-input-widget .monaco-list-row').filter({ hasText: text });
}

export function quickInput(page: Page): Locator {
  return page.locator('.quick-input-widget input[type="text"]').first();
}

/** An open palette does not take in commands of extensions that report later: it is opened again until the row is there. */
export async function findCommand(page: Page, text: string): Promise<Locator> {
  const row = quickRows(page, text).first();
  await again(page, async () => {
    await page.keyboard.press('F1');
    await quickInput(page).fill(`>${text}`, { timeout: 3000 });
    await row.waitFor({ timeout: 1500 });
  });
  return row;
}

export async function closeQuickInput(page: Page): Promise<void> {
  await page.keyboard.press('Escape');
  await page.locator('.quick-input-widget').waitFor({ state: 'hidden' });
}

export async function runCommand(page: Page, text: string): Promise<void> {
  await again(page, async () => (await findCommand(page, text)).click({ timeout: 3000 }));
}

/** Also a file that was made a moment ago: the list may first be an old one. */
export async function openFile(page: Page, name: string): Promise<void> {
  await again(page, async () => {
    await page.keyboard.press('Control+P');
    await quickInput(page).fill(name, { timeout: 3000 });
    await quickRows(page, name).first().click({ timeout: 3000 });
    await page.locator(`.tab.active[data-resource-name="${name}"]`).waitFor({ timeout: 5000 });
  });
}

/** Puts the cursor of the open editor at `line:column`. */
export async function goTo(page: Page, line: number, column: number): Promise<void> {
  await again(page, async () => {
    await page.keyboard.press('Control+G');
    await quickInput(page).fill(`:${line}:${column}`, { timeout: 3000 });
    await page.keyboard.press('Enter');
    await page.locator('.statusbar-item', { hasText: `Ln ${line}, Col ${column}` }).waitFor({ timeout: 3000 });
    await page.locator('.quick-input-widget').waitFor({ state: 'hidden', timeout: 3000 });
  });
}

/** The suggestions at the cursor, once all of `texts` are among them: a language server that has just been started offers none. */
export async function suggestions(page: Page, texts: string[]): Promise<Locator> {
  const rows = page.locator('.suggest-widget.visible .monaco-list-row');
  await again(page, async () => {
    await page.keyboard.press('Control+Space');
    for (const text of texts) await rows.filter({ hasText: text }).first().waitFor({ timeout: 5000 });
  });
  return rows;
}

/** A quick input closes when a dialog closes, or an editor opens, at that moment: what needs one begins again, for half a minute. */
async function again(page: Page, action: () => Promise<void>): Promise<void> {
  for (const end = Date.now() + 30_000; ;) {
    try {
      return await action();
    } catch (error) {
      if (Date.now() > end) throw error;
      await page.keyboard.press('Escape');
      await page.locator('.quick-input-widget').waitFor({ state: 'hidden' });
    }
  }
}

export function tab(page: Page, name: string): Locator {
  return page.locator(`.tab[data-resource-name="${name}"]`);
}

export async function closeNotifications(page: Page): Promise<void> {
  await runCommand(page, 'Notifications: Clear All Notifications');
  await page.locator('.notification-toast').first().waitFor({ state: 'hidden' });
}

/** The visible webview's own document. */
export function webview(page: Page): FrameLocator {
  return page.locator('iframe.webview.ready').filter({ visible: true }).first().contentFrame().locator('iframe#active-frame').contentFrame();
}

/** What can be read in the window, for the report of a step that failed. */
export async function describeWindow(page: Page): Promise<string> {
  const parts = ['.tabs-container', '.quick-input-widget', '.suggest-widget.visible', '.monaco-dialog-box', '.notifications-toasts', '.markers-panel', '.statusbar'];
  const lines = await Promise.all(parts.map(async part => {
    const texts = await page.locator(part).filter({ visible: true }).allInnerTexts().catch(() => []);
    return texts.map(text => `${part}: ${text.replace(/\s+/g, ' ').slice(0, 500)}`);
  }));
  return lines.flat().join('\n');
}

/** Complaints of the browser about the panel's content security policy. */
export function policyViolations(page: Page): string[] {
  const found: string[] = [];
  page.on('console', message => {
    const isOurs = message.location().url.includes('peft-lab') || message.text().includes('default-src \'none\'');
    if (isOurs && /Content Security Policy/i.test(message.text())) found.push(message.text());
  });
  return found;
}
