import * as vscode from 'vscode';
import type { PanelState } from '../common/panel-messages';
import type { Monitors } from './monitors';
import { ResultsPanel, type ResultsPanelOptions } from './results-panel';
import { studyTitle } from './study-files';
import type { StudyMonitor } from './study-monitor';

const viewType = 'peftLab.results';

export type ResultsPanelsOptions = Omit<ResultsPanelOptions, 'panel' | 'monitor'> & { monitors: Monitors };

/** All open result panels, one a store; opened by commands, brought back by the editor after a reload. */
export class ResultsPanels implements vscode.WebviewPanelSerializer, vscode.Disposable {
  readonly #panels = new Map<string, ResultsPanel>();
  readonly #serializer: vscode.Disposable;

  constructor(private readonly options: ResultsPanelsOptions) {
    this.#serializer = vscode.window.registerWebviewPanelSerializer(viewType, this);
  }

  show(monitor: StudyMonitor): void {
    const open = this.#panels.get(monitor.store);
    if (open) return open.reveal();
    this.#adopt(vscode.window.createWebviewPanel(viewType, studyTitle(monitor), vscode.ViewColumn.Active), monitor);
  }

  /** The study of the panel that is looked at; null when none is. */
  activeStudy(): vscode.Uri | null {
    return [...this.#panels.values()].find(({ isActive }) => isActive)?.study ?? null;
  }

  async deserializeWebviewPanel(panel: vscode.WebviewPanel, state: Partial<PanelState> | undefined): Promise<void> {
    const monitor = typeof state?.store === 'string' ? await this.options.monitors.ofStore(state.store) : null;
    if (!monitor) return panel.dispose();
    await monitor.refresh();
    this.#adopt(panel, monitor);
  }

  /** The panels stay: one that is disposed of would not come back after a reload. */
  dispose(): void {
    this.#serializer.dispose();
  }

  #adopt(panel: vscode.WebviewPanel, monitor: StudyMonitor): void {
    this.#panels.set(monitor.store, new ResultsPanel({ ...this.options, panel, monitor }));
    panel.onDidDispose(() => this.#panels.delete(monitor.store));
  }
}
