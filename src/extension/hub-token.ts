/** PEFT Lab: Set Hugging Face Token. Kept by the editor's secret storage; handed to the launcher alone, by its environment. */
import * as vscode from 'vscode';
import { UserError } from '../common/errors';
import { tokenKey } from './hub-environment';

export async function setHubToken({ secrets }: Pick<vscode.ExtensionContext, 'secrets'>): Promise<void> {
  if (!vscode.workspace.isTrusted) throw new UserError({ what: 'tokens are not used in restricted mode', remedy: 'Trust the workspace first ("Workspaces: Manage Workspace Trust").' });
  const stored = await secrets.get(tokenKey);
  const token = await vscode.window.showInputBox({
    title: 'Hugging Face Token', password: true, ignoreFocusOut: true,
    prompt: `For backbones that are private or gated; made on huggingface.co/settings/tokens (Read is enough).${stored ? ' One is stored: leave this empty to forget it.' : ''}`,
    placeHolder: 'hf_...',
    validateInput: text => (/\s/.test(text.trim()) ? 'A token has no spaces in it.' : undefined),
  });
  if (token === undefined) return;
  if (token.trim()) await secrets.store(tokenKey, token.trim());
  else await secrets.delete(tokenKey);
  const isSet = process.env['HF_TOKEN'] ? ' HF_TOKEN in the environment goes before it.' : '';
  void vscode.window.showInformationMessage(token.trim() ? `PEFT Lab: the token is stored.${isSet}` : 'PEFT Lab: no token is stored.');
}
