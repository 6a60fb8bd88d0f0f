/** What is said when a run ended. */
import * as vscode from 'vscode';
import { readTextIfThere } from '../store/files';
import { storePaths } from '../store/paths';
import { describeEnd } from './end-text';
import { studyTitle } from './study-files';
import type { StudyMonitor } from './study-monitor';

export interface EndOptions {
  log: vscode.LogOutputChannel;
  showResults(monitor: StudyMonitor): void;
}

export async function reportEnd(monitor: StudyMonitor, { log, showResults }: EndOptions): Promise<void> {
  const { snapshot, started, cancelled, store } = monitor;
  const end = describeEnd({ snapshot, started, cancelled, log: readTextIfThere(storePaths(store).log) ?? '' });
  const message = `${studyTitle(monitor)}: ${end.message}`;
  log.info(message);
  const show = { error: vscode.window.showErrorMessage, warning: vscode.window.showWarningMessage, info: vscode.window.showInformationMessage }[end.severity];
  const choice = await show(`PEFT Lab: ${message}`, ...end.severity === 'error' ? ['Show Log'] : ['Show Results', 'Show Log']);
  if (choice === 'Show Results') showResults(monitor);
  if (choice === 'Show Log') await vscode.window.showTextDocument(vscode.Uri.file(storePaths(monitor.store).log));
}
