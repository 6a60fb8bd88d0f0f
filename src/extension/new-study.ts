/** PEFT Lab: New Study. Four questions, and a study file that runs as it is. */
import fs from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { UserError } from '../common/errors';
import { fileSize } from '../common/format';
import { writeAtomic } from '../store/files';
import { findImageFolders, type ImageFolder } from './image-folders';
import { studyTemplate, type NewBackbone } from './study-template';

/** Leaves the file open in an editor; nothing is written when a question is dismissed. */
export async function newStudy(): Promise<void> {
  const folder = workspaceFolder();
  const images = await askForImages(folder);
  const backbone = images && await askForBackbone(folder);
  const methods = backbone && await askForMethods();
  const file = methods && await askForName(folder, path.basename(images!, '.csv'));
  if (!images || !backbone || !methods || !file) return;
  const name = path.basename(file, '.peft.json');
  const { methodCatalog } = await import('../common/method-catalog');
  writeAtomic(file, studyTemplate({ name, images: sayPath(folder, images), backbone, methods, catalog: methodCatalog() }));
  await vscode.window.showTextDocument(vscode.Uri.file(file));
}

function workspaceFolder(): string {
  const active = vscode.window.activeTextEditor?.document.uri;
  const folder = (active && vscode.workspace.getWorkspaceFolder(active)) ?? vscode.workspace.workspaceFolders?.[0];
  if (folder) return folder.uri.fsPath;
  throw new UserError({ what: 'no folder is open', remedy: 'Open the folder that the study file should lie in (File > Open Folder), and try again.' });
}

/** Relative with forward slashes inside the study's folder or beside it, absolute elsewhere. */
function sayPath(folder: string, target: string): string {
  const relative = path.relative(folder, target).replaceAll('\\', '/');
  const isNear = !path.isAbsolute(relative) && !relative.startsWith('../../');
  return isNear ? relative || '.' : target.replaceAll('\\', '/');
}

interface ImagesChoice extends vscode.QuickPickItem { path?: string }

async function askForImages(folder: string): Promise<string | undefined> {
  const folders = (vscode.workspace.workspaceFolders ?? []).map(({ uri }) => uri.fsPath);
  const items = Promise.all(folders.map(findImageFolders)).then((found): ImagesChoice[] => [
    ...found.flat().map(one => ({ label: sayPath(folder, one.path), description: describeImages(one), path: one.path })),
    { label: '$(folder-opened) Browse...', description: 'another folder, or a CSV file with columns path and label' },
  ]);
  const options = { title: 'New Study (1/4): Images', placeHolder: 'Which images? A folder with one folder a class, VTAB-1K lists, or a CSV file', ignoreFocusOut: true };
  const choice = await vscode.window.showQuickPick(items, options);
  return choice && (choice.path ?? browse({ title: 'Folder of images, or CSV file', folders: true, filters: { 'CSV file': ['csv'] } }));
}

function describeImages({ kind, images }: ImageFolder): string {
  if (kind === 'csv') return 'CSV file';
  return `${images} images${kind === 'lists' ? ', VTAB-1K lists' : ''}`;
}

interface BackboneChoice extends vscode.QuickPickItem { take(): Promise<NewBackbone | undefined> }

async function askForBackbone(folder: string): Promise<NewBackbone | undefined> {
  const fromFile = (file: string | undefined) => file === undefined ? undefined : { file: sayPath(folder, file) };
  const items = vscode.workspace.findFiles('**/*.{safetensors,npz}', '**/{node_modules,*.peft}/**', 50).then((files): BackboneChoice[] => [
    ...files.map(({ fsPath }) => ({ label: sayPath(folder, fsPath), description: fileSize(fs.statSync(fsPath).size), take: async () => fromFile(fsPath) })),
    { label: 'Embedded small ViT', description: 'comes with PEFT Lab: for trying things out', take: async () => ({ file: 'demo' }) },
    { label: '$(folder-opened) Browse...', description: 'a safetensors or npz file', take: async () => fromFile(await browse({ title: 'Backbone', folders: false, filters: { 'safetensors or npz file': ['safetensors', 'npz'] } })) },
    { label: '$(cloud-download) Hugging Face hub...', description: 'a repository such as timm/deit_tiny_patch16_224.fb_in1k', take: askForRepository },
  ]);
  const options = { title: 'New Study (2/4): Backbone', placeHolder: 'Which Vision Transformer?', ignoreFocusOut: true };
  const choice = await vscode.window.showQuickPick(items, options);
  return choice?.take();
}

async function askForRepository(): Promise<NewBackbone | undefined> {
  const repository = await vscode.window.showInputBox({
    title: 'New Study (2/4): Backbone', prompt: 'A repository of the Hugging Face hub; it is fetched when the study runs', value: 'timm/deit_tiny_patch16_224.fb_in1k', ignoreFocusOut: true,
    validateInput: text => (/^[\w.-]+\/[\w.-]+(@[\w./-]+)?$/.test(text) ? undefined : 'Write it like owner/name, or owner/name@revision.'),
  });
  return repository ? { hub: repository } : undefined;
}

async function askForMethods(): Promise<{ id: string; summary: string }[] | undefined> {
  const { methodCatalog } = await import('../common/method-catalog');
  const methods = methodCatalog().map(({ id, title, summary, suggested }) => ({ id, summary, label: title, description: id, detail: summary, picked: Boolean(suggested) }));
  const heading = (label: string) => ({ id: '', summary: '', label, kind: vscode.QuickPickItemKind.Separator });
  const items = [heading('one of each kind'), ...methods.filter(m => m.picked), heading('others'), ...methods.filter(m => !m.picked)];
  const options = { title: 'New Study (3/4): Methods', placeHolder: 'Which methods should be compared?', canPickMany: true as const, ignoreFocusOut: true, matchOnDescription: true };
  const chosen = await vscode.window.showQuickPick(items, options);
  return chosen?.length ? chosen : undefined;
}

async function askForName(folder: string, suggestion: string): Promise<string | undefined> {
  const fileOf = (name: string) => path.join(folder, `${name}.peft.json`);
  const name = await vscode.window.showInputBox({
    title: 'New Study (4/4): Name', prompt: 'The study file is called <name>.peft.json', value: freeName(suggestion, fileOf), ignoreFocusOut: true,
    validateInput: value => {
      if (!/^[\p{L}\p{N}][\p{L}\p{N} ._-]*$/u.test(value)) return 'Letters, digits, spaces, dots, dashes and underscores only.';
      return fs.existsSync(fileOf(value)) ? `${value}.peft.json is there already.` : undefined;
    },
  });
  return name === undefined ? undefined : fileOf(name);
}

function freeName(suggestion: string, fileOf: (name: string) => string): string {
  const base = suggestion.replace(/[^\p{L}\p{N} ._-]/gu, '') || 'study';
  for (let i = 1; ; i++) {
    const name = i === 1 ? base : `${base}-${i}`;
    if (!fs.existsSync(fileOf(name))) return name;
  }
}

async function browse({ title, folders, filters }: { title: string; folders: boolean; filters: Record<string, string[]> }): Promise<string | undefined> {
  const chosen = await vscode.window.showOpenDialog({ title, canSelectFolders: folders, canSelectFiles: true, canSelectMany: false, filters });
  return chosen?.[0]?.fsPath;
}
