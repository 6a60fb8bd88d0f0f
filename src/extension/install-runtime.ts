/** PEFT Lab: Install GPU Runtime. Says what would be downloaded and how large it is, asks, and installs with progress. */
import * as vscode from 'vscode';
import { UserError } from '../common/errors';
import { installOutcome, installProgress, planQuestion, runtimeChoices, type RuntimeChoice, type RuntimePlanDocument } from './runtime-text';
import { callTrainer, findTrainer, type Trainer, type TrainerOutput } from './trainer';

export interface InstallRuntimeOptions {
  context: vscode.ExtensionContext;
  log: vscode.LogOutputChannel;
}

export async function installGpuRuntime({ context, log }: InstallRuntimeOptions): Promise<void> {
  if (!vscode.workspace.isTrusted) throw new UserError({ what: 'nothing is installed in restricted mode', remedy: 'Trust the workspace first ("Workspaces: Manage Workspace Trust").' });
  const trainer = findTrainer(context);
  const choice = await vscode.window.showQuickPick(runtimeChoices, { title: 'Install GPU Runtime', placeHolder: 'What should PEFT Lab install?' });
  if (!choice) return;
  const plan = await lookUp(trainer, choice);
  if (!plan || !await agreed(plan, choice)) return;
  const outcome = await install(trainer, choice, log);
  log.info(outcome.message);
  const show = { done: vscode.window.showInformationMessage, warning: vscode.window.showWarningMessage, cancelled: vscode.window.showInformationMessage, failed: vscode.window.showErrorMessage }[outcome.kind];
  const button = outcome.kind === 'done' || outcome.kind === 'warning' ? 'Run Doctor' : 'Show Log';
  const chosen = await show(outcome.message, button);
  if (chosen === 'Run Doctor') await vscode.commands.executeCommand('peftLab.doctor');
  if (chosen === 'Show Log') log.show();
}

/** Null when it was cancelled. */
function lookUp(trainer: Trainer, { args, title }: RuntimeChoice): Thenable<RuntimePlanDocument | null> {
  const options = { location: vscode.ProgressLocation.Notification, cancellable: true, title: `PEFT Lab: looking up what ${title} takes` };
  return vscode.window.withProgress(options, async (_, token) => {
    const output = await callTrainer(trainer, ['runtime', 'install', ...args, '--dry-run', '--json'], token);
    return token.isCancellationRequested ? null : readPlan(output, title);
  });
}

function readPlan(output: TrainerOutput, title: string): RuntimePlanDocument {
  if (output.code === 0) return JSON.parse(output.stdout) as RuntimePlanDocument;
  throw new UserError({ what: installOutcome({ title, ...output }).message });
}

/** Whether the user wants it. Where something is missing on this machine, that is said instead. */
async function agreed(plan: RuntimePlanDocument, { title }: RuntimeChoice): Promise<boolean> {
  if (plan.problems.length > 0) throw new UserError({ what: `${title} cannot be installed yet: ${plan.problems.join('. ').replaceAll(/\s*\n\s*/g, '. ')}` });
  if (plan.installed) return true; // checks it, and says so
  const { message, detail } = planQuestion(plan);
  return await vscode.window.showInformationMessage(message, { modal: true, detail }, 'Install') === 'Install';
}

function install(trainer: Trainer, { args, title }: RuntimeChoice, log: vscode.LogOutputChannel): Thenable<ReturnType<typeof installOutcome>> {
  const options = { location: vscode.ProgressLocation.Notification, cancellable: true, title: `PEFT Lab: installing ${title}` };
  return vscode.window.withProgress(options, async (progress, token) => {
    let shown = 0;
    const output = await callTrainer(trainer, ['runtime', 'install', ...args, '--progress', '--json'], token, line => {
      const step = installProgress(line);
      if (!step) return void (line.trim() && log.info(line));
      progress.report({ message: step.message, increment: 100 * Math.max(0, step.share - shown) });
      shown = Math.max(shown, step.share);
    });
    const code = token.isCancellationRequested && !output.stdout.includes('"runtime"') ? 130 : output.code;
    return installOutcome({ title, ...output, code });
  });
}
