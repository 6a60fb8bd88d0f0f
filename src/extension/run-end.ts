/** What is said when a run ended. */
import fs from 'node:fs';
import * as vscode from 'vscode';
import type { Snapshot } from '../common/snapshot';
import { storePaths } from '../store/paths';
import { studyTitle } from './study-files';
import type { StudyMonitor } from './study-monitor';

export interface EndOptions {
  log: vscode.LogOutputChannel;
  showResults(monitor: StudyMonitor): void;
}

export async function reportEnd(monitor: StudyMonitor, { log, showResults }: EndOptions): Promise<void> {
  const { snapshot, started, cancelled, store } = monitor;
  const end = describeEnd({ snapshot, started, cancelled, logTail: lastLines(storePaths(store).log) });
  const message = `${studyTitle(monitor)}: ${end.message}`;
  log.info(message);
  const show = { error: vscode.window.showErrorMessage, warning: vscode.window.showWarningMessage, info: vscode.window.showInformationMessage }[end.severity];
  const choice = await show(`PEFT Lab: ${message}`, ...end.severity === 'error' ? ['Show Log'] : ['Show Results', 'Show Log']);
  if (choice === 'Show Results') showResults(monitor);
  if (choice === 'Show Log') await vscode.window.showTextDocument(vscode.Uri.file(storePaths(monitor.store).log));
}

export interface RunEnd {
  severity: 'info' | 'warning' | 'error';
  message: string;
}

export interface EndFacts {
  snapshot: Snapshot | null;
  /** When the launcher was started, milliseconds since 1970; 0 when it was found running. */
  started: number;
  /** Its end was asked for. */
  cancelled: boolean;
  /** What the launcher said last: the reason when it ended before it had planned a trial. */
  logTail: string;
}

export function describeEnd({ snapshot, started, cancelled, logTail }: EndFacts): RunEnd {
  const hasBegun = snapshot !== null && snapshot.trials.length > 0 && snapshot.updated >= started;
  if (!hasBegun && cancelled) return { severity: 'info', message: 'stopped before its first trial' };
  if (!hasBegun) return { severity: 'error', message: logTail || 'the run ended before it began' };
  const { finished, failed, total } = snapshot.progress;
  if (failed > 0) return { severity: 'warning', message: `${failed} of ${total} trials failed: ${firstError(snapshot)}` };
  if (finished < total) return { severity: 'info', message: `stopped after ${finished} of ${total} trials; running it again goes on from here` };
  return { severity: 'info', message: `all ${total} trials finished` };
}

function firstError({ trials }: Snapshot): string {
  const failed = trials.find(trial => trial.status === 'failed');
  return `${failed?.label ?? ''}: ${failed?.error?.split('\n')[0] ?? 'see the log'}`;
}

function lastLines(file: string): string {
  if (!fs.existsSync(file)) return '';
  return fs.readFileSync(file, 'utf8').trim().split('\n').slice(-3).join(' ').slice(-600);
}
