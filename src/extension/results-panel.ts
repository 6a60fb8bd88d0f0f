import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { isPanelIntent, type PanelIntent, type SnapshotMessage } from '../common/panel-messages';
import type { Snapshot } from '../common/snapshot';
import { storePaths } from '../store/paths';
import { DisposableStore } from './disposables';
import { panelHtml } from './panel-html';
import { isInside, readableRoots, resolveSample } from './sample-paths';
import { studyTitle } from './study-files';
import type { StudyMonitor } from './study-monitor';

export interface ResultsPanelOptions {
  panel: vscode.WebviewPanel;
  monitor: StudyMonitor;
  extensionUri: vscode.Uri;
  run(monitor: StudyMonitor): void;
  cancel(monitor: StudyMonitor): void;
  onError(error: unknown): void;
}

/** One webview that shows one store: sends it snapshots, carries out its intents. */
export class ResultsPanel implements vscode.Disposable {
  readonly #own = new DisposableStore();
  #roots: string[] = [];
  #ready = false;

  constructor(private readonly options: ResultsPanelOptions) {
    const { panel, monitor } = options;
    panel.title = studyTitle(monitor);
    panel.iconPath = vscode.Uri.joinPath(options.extensionUri, 'media', 'panel.svg');
    this.#own.add(panel.webview.onDidReceiveMessage(message => this.#receive(message)));
    this.#own.add(panel.onDidDispose(() => this.#own.dispose()));
    this.#own.add(monitor.onDidChange(() => this.#send()));
    this.#own.add(monitor.onDidTurn(() => this.#send()));
    this.#own.add(vscode.workspace.onDidGrantWorkspaceTrust(() => this.#send()));
    this.#load();
  }

  get isActive(): boolean {
    return this.options.panel.active;
  }

  get study(): vscode.Uri {
    return vscode.Uri.file(this.options.monitor.studyFile);
  }

  reveal(): void {
    this.options.panel.reveal();
  }

  dispose(): void {
    this.options.panel.dispose();
  }

  #load(): void {
    const { panel: { webview }, extensionUri } = this.options;
    const bundle = vscode.Uri.joinPath(extensionUri, 'dist', 'webview');
    this.#roots = readableRoots(this.options.monitor.snapshot?.dataSets ?? [], limits());
    webview.options = { enableScripts: true, localResourceRoots: [bundle, ...this.#roots.map(root => vscode.Uri.file(root))] };
    webview.html = panelHtml({
      script: webview.asWebviewUri(vscode.Uri.joinPath(bundle, 'panel.js')).toString(),
      style: webview.asWebviewUri(vscode.Uri.joinPath(bundle, 'panel.css')).toString(),
      source: webview.cspSource, nonce: randomBytes(16).toString('base64url'),
    });
  }

  #send(): void {
    const { monitor, panel: { webview } } = this.options;
    if (!this.#ready) return;
    const snapshot = shownSnapshot(monitor);
    const roots = readableRoots(snapshot.dataSets, limits());
    if (roots.join('\n') !== this.#roots.join('\n')) return this.#reload();
    const shown = snapshot.dataSets.filter(({ root }) => roots.includes(path.resolve(root)));
    const thumbnails = Object.fromEntries(shown.map(({ root }) => [root, webview.asWebviewUri(vscode.Uri.file(root)).toString()]));
    void webview.postMessage({ type: 'snapshot', snapshot, thumbnails } satisfies SnapshotMessage);
  }

  /** Which folders a page may read is fixed when it is loaded; its state survives. */
  #reload(): void {
    this.#ready = false;
    this.#load();
  }

  #receive(message: unknown): void {
    if (!isPanelIntent(message)) return;
    this.#carryOut(message).catch((error: unknown) => this.options.onError(error));
  }

  async #carryOut(intent: PanelIntent): Promise<void> {
    const { monitor } = this.options;
    switch (intent.type) {
      case 'ready':
        this.#ready = true;
        await monitor.refresh();
        return this.#send();
      case 'openFile': {
        const file = resolveSample(monitor.snapshot?.dataSets ?? [], intent, limits());
        return void await vscode.commands.executeCommand('vscode.open', vscode.Uri.file(file), { viewColumn: vscode.ViewColumn.Beside, preview: true });
      }
      case 'openStudy':
        return void await vscode.window.showTextDocument(vscode.Uri.file(monitor.studyFile), { viewColumn: vscode.ViewColumn.One });
      case 'openReport': return openReport(monitor);
      case 'run': return this.options.run(monitor);
      case 'cancel': return this.options.cancel(monitor);
      default: intent satisfies never;
    }
  }
}

/** A launcher that has only been started shows as running, and an empty store knows its study. */
function shownSnapshot({ snapshot, store, studyFile, running }: StudyMonitor): Snapshot {
  const empty: Snapshot = {
    study: { name: studyTitle({ studyFile }), file: studyFile, store }, running, updated: 0,
    progress: { finished: 0, failed: 0, total: 0, secondsLeft: null, current: null }, dataSets: [], trials: [], overlaps: [], warnings: [],
  };
  return snapshot ? { ...snapshot, running } : empty;
}

/** In restricted mode a store may have been made to point anywhere: only the workspace's own pictures are read. */
function limits(): string[] | null {
  return vscode.workspace.isTrusted ? null : (vscode.workspace.workspaceFolders ?? []).map(folder => folder.uri.fsPath);
}

async function openReport(monitor: StudyMonitor): Promise<void> {
  const { report } = storePaths(monitor.store);
  if (!fs.existsSync(report)) {
    await vscode.window.showInformationMessage('PEFT Lab: the report is written when the run ends.');
  } else if (vscode.env.remoteName === undefined) {
    await vscode.env.openExternal(vscode.Uri.file(report));
  } else if (isInside(report, (vscode.workspace.workspaceFolders ?? []).map(folder => folder.uri.fsPath))) {
    await vscode.commands.executeCommand('revealInExplorer', vscode.Uri.file(report));
    await vscode.window.showInformationMessage(`PEFT Lab: download ${path.basename(report)} from the explorer and open it in a browser.`);
  } else {
    await vscode.window.showInformationMessage(`PEFT Lab: the report lies at ${report}; open it in a browser.`);
  }
}
