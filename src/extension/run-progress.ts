/** Shows runs: one notification with cancel for each, and one status bar item for all. */
import * as vscode from 'vscode';
import { DisposableStore } from './disposables';
import type { Monitors } from './monitors';
import { progressText } from './progress-text';
import { reportEnd } from './run-end';
import { studyTitle } from './study-files';
import type { StudyMonitor } from './study-monitor';

export interface RunProgressOptions {
  monitors: Monitors;
  log: vscode.LogOutputChannel;
  /** Opens the results of a study. */
  showResults(monitor: StudyMonitor): void;
}

export function showRunProgress({ monitors, log, showResults }: RunProgressOptions): vscode.Disposable {
  const own = new DisposableStore();
  const item = own.add(vscode.window.createStatusBarItem('peftLab.run', vscode.StatusBarAlignment.Left, 10));
  item.name = 'PEFT Lab';
  const update = () => updateItem(item, monitors.running());
  own.add(monitors.onDidChange(update));
  own.add(monitors.onDidTurn(monitor => {
    update();
    if (monitor.running) notify(monitor);
    else void reportEnd(monitor, { log, showResults });
  }));
  return own;
}

/** A notification that lives as long as the run. */
export function notify(monitor: StudyMonitor): void {
  const options = { location: vscode.ProgressLocation.Notification, cancellable: true, title: `PEFT Lab: ${studyTitle(monitor)}` };
  void vscode.window.withProgress(options, (progress, token) => new Promise<void>(resolve => {
    const own = new DisposableStore();
    let shown = 0;
    const update = () => {
      const { long, share } = progressText(monitor);
      progress.report({ message: long, increment: Math.max(0, share - shown) * 100 });
      shown = Math.max(shown, share);
    };
    own.add(token.onCancellationRequested(() => cancelRun(monitor)));
    own.add(monitor.onDidChange(update));
    own.add(monitor.onDidTurn(running => {
      if (running) return;
      own.dispose();
      resolve();
    }));
    update();
  }));
}

export function cancelRun(monitor: StudyMonitor): void {
  monitor.cancel();
  vscode.window.setStatusBarMessage('$(debug-stop) PEFT Lab: stopping after the checkpoint', 5000);
}

function updateItem(item: vscode.StatusBarItem, running: StudyMonitor[]): void {
  const [first, ...others] = running;
  if (!first) return item.hide();
  const { short, long } = progressText(first);
  item.text = `$(sync~spin) PEFT ${short}${others.length ? ` (+${others.length})` : ''}`;
  item.command = { command: 'peftLab.showResults', title: 'Show Results', arguments: [vscode.Uri.file(first.studyFile)] };
  item.tooltip = `${running.map(monitor => `${studyTitle(monitor)}: ${monitor === first ? long : progressText(monitor).long}`).join('\n')}\nClick for the results.`;
  item.accessibilityInformation = { label: `PEFT Lab runs ${studyTitle(first)}: ${long}` };
  item.show();
}
