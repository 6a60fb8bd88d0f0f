/** Which study a command is about, and where its results lie. */
import fs from 'node:fs/promises';
import path from 'node:path';
import * as vscode from 'vscode';
import { UserError } from '../common/errors';
import { storeFolderFromText } from '../store/paths';

export const studyPattern = '**/*.peft.json';
const noStudies = '**/{node_modules,*.peft}/**';

export interface StudyFile {
  uri: vscode.Uri;
  store: string;
}

/** The study of `uri`, the only one of the workspace, or the one that is picked; null when none is. */
export async function chooseStudy(uri?: unknown): Promise<StudyFile | null> {
  if (uri instanceof vscode.Uri) return studyFile(uri);
  const found = await findStudies();
  if (found.length === 0) throw new UserError({ what: 'there is no study (*.peft.json) in this workspace', remedy: 'Make one with "PEFT Lab: New Study".' });
  const chosen = found.length === 1 ? found[0] : await pickStudy(found);
  return chosen ? studyFile(chosen) : null;
}

/** The study file in the active editor; null when it shows something else. */
export function activeStudy(): vscode.Uri | null {
  const uri = vscode.window.activeTextEditor?.document.uri;
  return uri && isStudyFile(uri) ? uri : null;
}

/** `flowers` for `/data/flowers.peft.json`. */
export function studyTitle({ studyFile }: { studyFile: string }): string {
  return path.basename(studyFile, '.peft.json');
}

export function isStudyFile(uri: vscode.Uri): boolean {
  return uri.scheme === 'file' && uri.fsPath.endsWith('.peft.json');
}

async function findStudies(): Promise<vscode.Uri[]> {
  const found = await vscode.workspace.findFiles(studyPattern, noStudies, 200);
  return found.filter(isStudyFile).sort((a, b) => a.fsPath.localeCompare(b.fsPath));
}

/** The study with its store; the file need not be valid, and "output" is taken as far as it can be read. */
export async function studyFile(uri: vscode.Uri): Promise<StudyFile> {
  return { uri, store: storeFolderFromText(uri.fsPath, await readText(uri)) };
}

async function readText(uri: vscode.Uri): Promise<string> {
  const open = vscode.workspace.textDocuments.find(document => document.uri.toString() === uri.toString());
  if (open) return open.getText();
  return fs.readFile(uri.fsPath, 'utf8').catch(() => '');
}

async function pickStudy(uris: readonly vscode.Uri[]): Promise<vscode.Uri | undefined> {
  const items = uris.map(uri => ({
    uri, label: path.basename(uri.fsPath, '.peft.json'), description: vscode.workspace.asRelativePath(path.dirname(uri.fsPath)),
  }));
  return (await vscode.window.showQuickPick(items, { title: 'Which study?', placeHolder: 'A study file of this workspace' }))?.uri;
}
