/** The process that trains: which executable, with what, and one-off calls of the command line in it. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import * as vscode from 'vscode';
import { UserError } from '../common/errors';

export interface Trainer {
  executable: string;
  /** dist/cli.cjs of the installed extension. */
  cli: string;
  env: NodeJS.ProcessEnv;
}

/** Node.js as the setting says, else the editor's own executable; a UserError where the setting's is missing. */
export function findTrainer(context: vscode.ExtensionContext): Trainer {
  const chosen = vscode.workspace.getConfiguration('peftLab').get<string>('nodePath', '').trim();
  if (chosen && !fs.existsSync(chosen)) {
    throw new UserError({ what: 'there is no such file', where: `setting peftLab.nodePath (${chosen})`, remedy: 'Give the full path of a Node.js 20 or newer, or leave it empty.' });
  }
  return {
    executable: chosen || process.execPath,
    cli: context.asAbsolutePath('dist/cli.cjs'),
    // What is installed later lies in the extension's own storage; the command line in a terminal names its own.
    env: { PEFT_LAB_DATA: context.globalStorageUri.fsPath, ...trainerEnvironment(process.env) },
  };
}

export interface TrainerOutput {
  stdout: string;
  /** Everything the process said beside its result. */
  stderr: string;
  code: number | null;
}

/**
 * Runs one subcommand to its end. Rejects when it cannot be started; asks it to end when `token` is cancelled. `onLine` gets
 * each line of what it says beside its result, as it comes.
 */
export function callTrainer({ executable, cli, env }: Trainer, args: string[], token: vscode.CancellationToken, onLine?: (line: string) => void): Promise<TrainerOutput> {
  return new Promise((resolve, reject) => {
    const child = spawn(executable, [cli, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'], windowsHide: true });
    const parts = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => { parts.stdout += text; });
    let rest = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (!onLine) return void (parts.stderr += text);
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      parts.stderr = (parts.stderr + lines.map(line => `${line}\n`).join('')).slice(-20_000); // progress can be long
      lines.forEach(onLine);
    });
    const cancelled = token.onCancellationRequested(() => child.kill());
    child.once('error', error => { cancelled.dispose(); reject(error); });
    child.once('close', code => { cancelled.dispose(); resolve({ ...parts, code }); });
  });
}

/**
 * The editor's environment without what is meant for the editor's own processes: an inherited VSCODE_* or NODE_OPTIONS
 * would attach a debugger or end the trainer with the window.
 */
function trainerEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(environment).filter(([name]) => !/^(VSCODE_|NODE_OPTIONS$|ELECTRON_)/.test(name));
  return { ...Object.fromEntries(kept), ELECTRON_RUN_AS_NODE: '1' };
}
