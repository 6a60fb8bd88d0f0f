/** What is wrong with the open study files, as problems with their place. */
import * as vscode from 'vscode';
import type { ParsedStudy, StudyProblem } from '../common/parse-study';
import { DisposableStore } from './disposables';
import { isStudyFile } from './study-files';

const PAUSE_MILLISECONDS = 300;

export class Diagnostics implements vscode.Disposable {
  readonly #own = new DisposableStore();
  readonly #collection = this.#own.add(vscode.languages.createDiagnosticCollection('peft-lab'));
  readonly #waiting = new Map<string, NodeJS.Timeout>();

  constructor() {
    this.#own.add(vscode.workspace.onDidOpenTextDocument(document => this.#soon(document)));
    this.#own.add(vscode.workspace.onDidChangeTextDocument(({ document }) => this.#soon(document)));
    this.#own.add(vscode.workspace.onDidCloseTextDocument(({ uri }) => this.#collection.delete(uri)));
    vscode.workspace.textDocuments.forEach(document => this.#soon(document));
  }

  /** Checks the document now and shows its problems. */
  async check(document: vscode.TextDocument): Promise<ParsedStudy> {
    const [{ parseStudy }, { methodCatalog }] = await Promise.all([import('../common/parse-study'), import('../common/method-catalog')]);
    const parsed = parseStudy(document.getText(), methodCatalog());
    this.#collection.set(document.uri, (parsed.problems ?? []).map(toDiagnostic));
    return parsed;
  }

  dispose(): void {
    this.#waiting.forEach(clearTimeout);
    this.#own.dispose();
  }

  /** Not at every key. */
  #soon(document: vscode.TextDocument): void {
    if (!isStudyFile(document.uri)) return;
    const key = document.uri.toString();
    clearTimeout(this.#waiting.get(key));
    this.#waiting.set(key, setTimeout(() => {
      this.#waiting.delete(key);
      if (!document.isClosed) void this.check(document);
    }, PAUSE_MILLISECONDS));
  }
}

function toDiagnostic({ message, line, column, length, path, remedy }: StudyProblem): vscode.Diagnostic {
  const range = new vscode.Range(line - 1, column - 1, line - 1, column - 1 + length);
  const text = [`${path ? `${path}: ` : ''}${message}`, remedy].filter(Boolean).join('\n');
  const diagnostic = new vscode.Diagnostic(range, text, vscode.DiagnosticSeverity.Error);
  diagnostic.source = 'PEFT Lab';
  return diagnostic;
}
