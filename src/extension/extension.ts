/** Activation: puts the parts together and registers the commands. Heavy parts load when they are first used. */
import * as vscode from 'vscode';
import { registerCodeLenses } from './code-lenses';
import { Diagnostics } from './diagnostics';
import { DisposableStore } from './disposables';
import { Doctor } from './doctor';
import { setHubToken } from './hub-token';
import { installGpuRuntime } from './install-runtime';
import { Monitors } from './monitors';
import { newStudy } from './new-study';
import { reportError } from './report-error';
import { ResultsPanels } from './results-panels';
import { cancelRun, notify, showRunProgress } from './run-progress';
import { runStudy } from './run-study';
import { activeStudy, chooseStudy, studyTitle } from './study-files';
import type { StudyMonitor } from './study-monitor';

export function activate(context: vscode.ExtensionContext): void {
  const own = new DisposableStore();
  context.subscriptions.push(own);
  const log = own.add(vscode.window.createOutputChannel('PEFT Lab', { log: true }));
  const onError = (error: unknown) => void reportError(error, log);
  const diagnostics = own.add(new Diagnostics());
  const monitors = own.add(new Monitors(context.workspaceState, log));
  const doctor = own.add(new Doctor({ context, log }));

  const run = async (uri: vscode.Uri) => {
    const monitor = await runStudy(uri, { context, diagnostics, monitors, log });
    if (monitor) panels.show(monitor);
  };
  const panels: ResultsPanels = own.add(new ResultsPanels({
    monitors, onError, extensionUri: context.extensionUri, cancel: cancelRun,
    run: monitor => void run(vscode.Uri.file(monitor.studyFile)).catch(onError),
  }));
  own.add(showRunProgress({ monitors, log, showResults: monitor => panels.show(monitor) }));
  own.add(registerCodeLenses());

  const lookedAt = () => activeStudy() ?? panels.activeStudy();
  const commands: Record<string, (uri?: unknown) => Promise<void>> = {
    'peftLab.newStudy': newStudy,
    'peftLab.runStudy': async uri => {
      const study = await chooseStudy(uri ?? lookedAt());
      if (study) await run(study.uri);
    },
    'peftLab.cancel': () => cancelOne(monitors),
    'peftLab.showResults': async uri => {
      const monitor = await chosenMonitor(monitors, uri ?? lookedAt());
      if (monitor) panels.show(monitor);
    },
    'peftLab.doctor': () => doctor.run(),
    'peftLab.installRuntime': () => installGpuRuntime({ context, log }),
    'peftLab.setHubToken': () => setHubToken(context),
  };
  for (const [id, command] of Object.entries(commands)) {
    own.add(vscode.commands.registerCommand(id, (uri?: unknown) => command(uri).catch(onError)));
  }
  monitors.findRunning().then(found => found.forEach(monitor => {
    notify(monitor);
    void monitor.refresh();
  })).catch(onError);
}

/** What the reader looks at comes first, then what runs. */
async function chosenMonitor(monitors: Monitors, uri: unknown): Promise<StudyMonitor | null> {
  const running = monitors.running();
  if (!uri && running.length === 1) return running[0]!;
  const study = await chooseStudy(uri);
  return study && monitors.of(study);
}

async function cancelOne(monitors: Monitors): Promise<void> {
  const running = monitors.running();
  if (running.length === 0) return void await vscode.window.showInformationMessage('PEFT Lab: no study is running.');
  const items = running.map(monitor => ({ monitor, label: studyTitle(monitor), description: monitor.store }));
  const chosen = items.length === 1 ? items[0] : await vscode.window.showQuickPick(items, { title: 'Which study should stop?' });
  if (chosen) cancelRun(chosen.monitor);
}
