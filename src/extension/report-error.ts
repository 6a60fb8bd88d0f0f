import * as vscode from 'vscode';
import { UserError, describeError } from '../common/errors';

/** Shows a UserError in its own words; anything else is logged with its stack and announced with a way to the log. */
export async function reportError(error: unknown, log: vscode.LogOutputChannel): Promise<void> {
  log.error(describeError(error));
  const message = error instanceof UserError ? oneLine(error) : `PEFT Lab failed: ${error instanceof Error ? error.message : String(error)}`;
  if (await vscode.window.showErrorMessage(message, 'Show Log')) log.show();
}

/** Notifications show no line breaks. */
function oneLine({ what, where, remedy }: UserError): string {
  return [where ? `${where}: ${what}.` : `${what}.`, remedy].filter(Boolean).join(' ');
}
