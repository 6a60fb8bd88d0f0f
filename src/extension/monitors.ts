import path from 'node:path';
import * as vscode from 'vscode';
import { lockHolder } from '../store/lock';
import { readStoredStudy } from '../store/study-store';
import { DisposableStore } from './disposables';
import { studyFile, type StudyFile } from './study-files';
import { StudyMonitor } from './study-monitor';

const rememberedKey = 'stores';

/** The monitors of all stores that this window has to do with, one a store. */
export class Monitors implements vscode.Disposable {
  readonly #own = new DisposableStore();
  readonly #monitors = new Map<string, StudyMonitor>();
  readonly #turned = this.#own.add(new vscode.EventEmitter<StudyMonitor>());
  readonly #changed = this.#own.add(new vscode.EventEmitter<StudyMonitor>());
  /** A study began or ended running. */
  readonly onDidTurn = this.#turned.event;
  readonly onDidChange = this.#changed.event;

  constructor(private readonly memory: vscode.Memento, private readonly log: vscode.LogOutputChannel) {}

  /** The study's monitor, made when there is none. */
  of({ uri, store }: StudyFile): StudyMonitor {
    const known = this.#monitors.get(store);
    if (known) return known;
    const monitor = this.#own.add(new StudyMonitor(store, uri.fsPath, this.log));
    this.#own.add(monitor.onDidTurn(() => this.#turned.fire(monitor)));
    this.#own.add(monitor.onDidChange(() => this.#changed.fire(monitor)));
    this.#monitors.set(store, monitor);
    return monitor;
  }

  running(): StudyMonitor[] {
    return [...this.#monitors.values()].filter(monitor => monitor.running);
  }

  /** So that a run in a store outside the workspace is found again after a reload. */
  async remember(store: string): Promise<void> {
    const known = this.memory.get<string[]>(rememberedKey, []).filter(other => other !== store);
    await this.memory.update(rememberedKey, [store, ...known].slice(0, 20));
  }

  /** Runs that outlived the window they were started from, or were started from a terminal. */
  async findRunning(): Promise<StudyMonitor[]> {
    const locks = await vscode.workspace.findFiles('**/*.peft/lock', '**/node_modules/**', 50);
    const stores = new Set([...this.memory.get<string[]>(rememberedKey, []), ...locks.map(uri => path.dirname(uri.fsPath))]);
    const found = await Promise.all([...stores].filter(store => lockHolder(store)).map(store => this.ofStore(store)));
    return found.filter(monitor => monitor !== null);
  }

  /** The monitor of a store that says itself which study it belongs to; null when it does not. */
  async ofStore(store: string): Promise<StudyMonitor | null> {
    const file = readStoredStudy(store)?.file ?? (store.endsWith('.peft') ? `${store}.json` : null);
    return file === null ? null : this.of({ ...await studyFile(vscode.Uri.file(file)), store });
  }

  dispose(): void {
    this.#own.dispose();
  }
}
