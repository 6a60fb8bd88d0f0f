import type * as vscode from 'vscode';

/** Under which the editor's secret storage keeps the token of the Hugging Face hub. */
export const tokenKey = 'peftLab.hubToken';

/** What the launcher's environment gets beside the editor's: the stored token, unless HF_TOKEN is set there. */
export async function hubEnvironment({ secrets }: Pick<vscode.ExtensionContext, 'secrets'>, environment: NodeJS.ProcessEnv): Promise<NodeJS.ProcessEnv> {
  if (environment['HF_TOKEN']) return {};
  const token = await secrets.get(tokenKey);
  return token ? { HF_TOKEN: token } : {};
}
