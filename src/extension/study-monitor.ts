import fs from 'node:fs';
import * as vscode from 'vscode';
import { processIsAlive } from '../common/process-is-alive';
import type { Snapshot } from '../common/snapshot';
import { readTextIfThere } from '../store/files';
import { lockHolder } from '../store/lock';
import { storePaths } from '../store/paths';
import { requestCancel } from '../store/requests';
import { DisposableStore } from './disposables';

const RUNNING_MILLISECONDS = 1000;
/** Also an idle store is looked at: the command line may start a run in it. */
const IDLE_MILLISECONDS = 3000;

/**
 * One store as the editor sees it: polls it once a second while its study runs, and says when what it shows changed and
 * when a run began or ended. The poll goes on until it is disposed of.
 */
export class StudyMonitor implements vscode.Disposable {
  snapshot: Snapshot | null = null;
  /** What the launcher is preparing, in words; null when trials run or nothing does. */
  preparing: string | null = null;
  running: boolean;
  /** When this window started the launcher, milliseconds since 1970; 0 for a run that was found. */
  started = 0;
  /** This window asked for its end. */
  cancelled = false;

  readonly #own = new DisposableStore();
  readonly #changed = this.#own.add(new vscode.EventEmitter<void>());
  readonly #turned = this.#own.add(new vscode.EventEmitter<boolean>());
  readonly onDidChange = this.#changed.event;
  /** True when a run began, false when it ended. */
  readonly onDidTurn = this.#turned.event;
  #launcher: number | null = null;
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> | null = null;
  #last = '';
  #disposed = false;

  constructor(readonly store: string, readonly studyFile: string, private readonly log: vscode.LogOutputChannel) {
    this.running = lockHolder(store) !== null;
    this.#schedule();
  }

  /** A launcher was started for this store: it counts as running before it has taken the lock. */
  expect(launcher: number): void {
    this.#launcher = launcher;
    this.started = Date.now();
    this.cancelled = false;
    this.#turn(true);
    void this.refresh();
  }

  /** The launcher sees the request within a second, lets the worker write its checkpoint, and ends. */
  cancel(): void {
    this.cancelled = true;
    requestCancel(this.store);
  }

  /** Reads the store now; what changed has been announced when it resolves. */
  async refresh(): Promise<void> {
    await (this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
      this.#schedule();
    }));
  }

  dispose(): void {
    this.#disposed = true;
    clearTimeout(this.#timer);
    this.#own.dispose();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (!this.#disposed) this.#timer = setTimeout(() => void this.refresh(), this.running ? RUNNING_MILLISECONDS : IDLE_MILLISECONDS);
  }

  async #read(): Promise<void> {
    try {
      const running = this.#isRunning(); // asked first: a run that ends while the store is read is read once more
      const launcher = this.#launcher;
      this.#announcePreparing(running ? readTextIfThere(storePaths(this.store).preparing) : null);
      if (fs.existsSync(storePaths(this.store).study)) this.#announce(await this.#build());
      if (this.#launcher === launcher) this.#turn(running); // else one was started meanwhile
    } catch (error) {
      this.log.error(`${this.store} cannot be read`, error as Error);
    }
  }

  async #build(): Promise<Snapshot> {
    const { buildSnapshot } = await import('../analysis/snapshot');
    return buildSnapshot(this.store);
  }

  #announce(snapshot: Snapshot): void {
    const text = JSON.stringify(snapshot);
    if (text === this.#last || this.#disposed) return;
    this.#last = text;
    this.snapshot = snapshot;
    this.#changed.fire();
  }

  #announcePreparing(text: string | null): void {
    if (text === this.preparing || this.#disposed) return;
    this.preparing = text;
    this.#changed.fire();
  }

  #isRunning(): boolean {
    if (this.#launcher !== null && !processIsAlive(this.#launcher)) this.#launcher = null;
    return this.#launcher !== null || lockHolder(this.store) !== null;
  }

  #turn(running: boolean): void {
    if (running === this.running || this.#disposed) return;
    this.running = running;
    this.#turned.fire(running);
  }
}
