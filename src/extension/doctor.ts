/** PEFT Lab: Doctor. Asks the trainer's own executable which engines work here, and shows the answer as a document. */
import * as vscode from 'vscode';
import { UserError } from '../common/errors';
import { doctorPage, type DoctorReport } from './doctor-page';
import { callTrainer, findTrainer, type TrainerOutput } from './trainer';

const scheme = 'peft-lab-doctor';
const pageUri = vscode.Uri.from({ scheme, path: '/PEFT Lab Doctor.md' });

export interface DoctorOptions {
  context: vscode.ExtensionContext;
  log: vscode.LogOutputChannel;
}

export class Doctor implements vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<vscode.Uri>();
  readonly #provider: vscode.Disposable;
  #page = '';

  constructor(private readonly options: DoctorOptions) {
    this.#provider = vscode.workspace.registerTextDocumentContentProvider(scheme, {
      onDidChange: this.#changed.event, provideTextDocumentContent: () => this.#page,
    });
  }

  /** Takes some seconds; a crash of a probed engine is a line in its table. */
  async run(): Promise<void> {
    const { context, log } = this.options;
    const trainer = findTrainer(context);
    const progress = { location: vscode.ProgressLocation.Notification, cancellable: true, title: 'PEFT Lab: trying the engines of this machine' };
    const output = await vscode.window.withProgress(progress, async (_, token) => {
      const answer = await callTrainer(trainer, ['doctor', '--json'], token);
      return token.isCancellationRequested ? null : answer;
    });
    if (!output) return;
    log.info(`doctor, under ${trainer.executable}:\n${output.stderr}`);
    this.#page = doctorPage({ report: parseReport(output), executable: trainer.executable, log: output.stderr });
    this.#changed.fire(pageUri);
    await vscode.commands.executeCommand('markdown.showPreview', pageUri);
  }

  dispose(): void {
    this.#provider.dispose();
    this.#changed.dispose();
  }
}

function parseReport({ stdout, stderr, code }: TrainerOutput): DoctorReport {
  try {
    return JSON.parse(stdout) as DoctorReport;
  } catch (cause) {
    throw new UserError({
      what: `the doctor ended with ${code === null ? 'a signal' : `code ${code}`} and no report: ${stderr.trim().split('\n').slice(-2).join(' ')}`,
      remedy: 'See the log; another Node.js can be named in the setting peftLab.nodePath.', cause,
    });
  }
}
