/** PEFT Lab: Run Study. Checks the file, and starts a launcher that outlives this window. */
import path from 'node:path';
import * as vscode from 'vscode';
import { UserError } from '../common/errors';
import { startDetached } from '../launch/detached';
import { lockHolder } from '../store/lock';
import { storePaths } from '../store/paths';
import type { Diagnostics } from './diagnostics';
import { hubEnvironment } from './hub-environment';
import type { Monitors } from './monitors';
import { studyFile } from './study-files';
import type { StudyMonitor } from './study-monitor';
import { findTrainer } from './trainer';

export interface RunStudyOptions {
  context: vscode.ExtensionContext;
  diagnostics: Diagnostics;
  monitors: Monitors;
  log: vscode.LogOutputChannel;
}

/** The monitor of the study that now runs; null when the file has problems, which are shown. */
export async function runStudy(uri: vscode.Uri, { context, diagnostics, monitors, log }: RunStudyOptions): Promise<StudyMonitor | null> {
  if (!vscode.workspace.isTrusted) throw new UserError({ what: 'studies do not run in restricted mode', remedy: 'Trust the workspace first ("Workspaces: Manage Workspace Trust").' });
  if (!await isValid(uri, diagnostics)) return null;
  const file = await studyFile(uri);
  const monitor = monitors.of(file);
  if (monitor.running || lockHolder(file.store)) return monitor;
  const { executable, cli, env } = findTrainer(context);
  const launcher = await startDetached({ executable, cli, args: ['run', uri.fsPath], logFile: storePaths(file.store).log, cwd: path.dirname(uri.fsPath), env: { ...env, ...await hubEnvironment(context, env) } })
    .catch((cause: unknown) => { throw new UserError({ what: `${executable} cannot be started`, remedy: 'Check the setting peftLab.nodePath.', cause }); });
  log.info(`Started ${executable} ${cli} run ${uri.fsPath} (process ${launcher}); it writes to ${storePaths(file.store).log}`);
  monitor.expect(launcher);
  await monitors.remember(file.store);
  return monitor;
}

/** Saves the file and checks it. */
async function isValid(uri: vscode.Uri, diagnostics: Diagnostics): Promise<boolean> {
  const document = await vscode.workspace.openTextDocument(uri);
  if (document.isDirty && !await document.save()) throw new UserError({ what: 'the study file could not be saved', where: uri.fsPath });
  const { problems } = await diagnostics.check(document);
  if (!problems) return true;
  const [first] = problems;
  await vscode.window.showTextDocument(document, { selection: new vscode.Range(first!.line - 1, first!.column - 1, first!.line - 1, first!.column - 1 + first!.length) });
  const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
  void vscode.window.showErrorMessage(`PEFT Lab: ${path.basename(uri.fsPath)} has ${count}: ${first!.message}`, 'Show Problems')
    .then(choice => choice && vscode.commands.executeCommand('workbench.actions.view.problems'));
  return false;
}
