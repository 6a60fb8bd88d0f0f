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

/** An open palette does not take in commands of extensions that report later, and a dialog that closes takes it along: it is opened again until the row is there. */
export async function findCommand(page: Page, text: string, seconds = 30): Promise<Locator> {
  for (const end = Date.now() + seconds * 1000; ;) {
    await page.keyboard.press('F1');
    const row = quickRows(page, text).first();
    try {
      await quickInput(page).fill(`>${text}`, { timeout: 3000 });
      await row.waitFor({ timeout: 1500 });
      return row;
    } catch (error) {
      if (Date.now() > end) throw error;
      await closeQuickInput(page);
    }
  }
}

export async function closeQuickInput(page: Page): Promise<void> {
  await page.keyboard.press('Escape');
  await page.locator('.quick-input-widget').waitFor({ state: 'hidden' });
}

export async function runCommand(page: Page, text: string): Promise<void> {
  await (await findCommand(page, text)).click();
}

/** Also a file that was made a moment ago: the list may first be an old one. */
export async function openFile(page: Page, name: string): Promise<void> {
  for (const end = Date.now() + 30_000; ;) {
    await page.keyboard.press('Control+P');
    await quickInput(page).fill(name);
    try {
      await quickRows(page, name).first().waitFor({ timeout: 3000 });
      break;
    } catch (error) {
      if (Date.now() > end) throw error;
      await closeQuickInput(page);
    }
  }
  await page.keyboard.press('Enter');
  await tab(page, name).waitFor();
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

/** Complaints of the browser about the panel's content security policy. */
export function policyViolations(page: Page): string[] {
  const found: string[] = [];
  page.on('console', message => {
    const isOurs = message.location().url.includes('peft-lab') || message.text().includes('default-src \'none\'');
    if (isOurs && /Content Security Policy/i.test(message.text())) found.push(message.text());
  });
  return found;
}
