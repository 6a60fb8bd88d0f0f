/** What a view says while it has nothing to show, and what to do about it. */
import type { PanelContext } from '../context';
import { h } from '../dom';
import type { Child, Tree } from '../dom';
import { button, progressRing } from '../elements';

export function emptyState(title: string, text: string, ...more: Child[]): Tree {
  return h('div', { class: 'empty-state', role: 'status' }, h('h2', {}, title), h('p', {}, text), more);
}

export function waiting(): Tree {
  return h('div', { class: 'empty-state', role: 'status' }, progressRing('Reading the study'), h('p', {}, 'Reading the study …'));
}

export function noTrials({ snapshot, send }: PanelContext): Tree {
  if (snapshot.running) {
    return emptyState('Preparing', 'The images are being read and the trials planned; the first rows appear in a moment.', progressRing('Preparing'));
  }
  return emptyState('No trials yet', 'Run the study to train and compare its methods.', send && h('div', { class: 'actions' },
    button({ label: 'Run Study', appearance: 'primary', onClick: () => send({ type: 'run' }) }),
    button({ label: 'Open Study File', onClick: () => send({ type: 'openStudy' }) })));
}

/** No trial has answers on a split yet. */
export function noAnswers(context: PanelContext): Tree {
  const { snapshot } = context;
  if (!snapshot.trials.length) return noTrials(context);
  const failed = snapshot.trials.filter(t => t.status === 'failed');
  if (failed.length === snapshot.trials.length) return allFailed(failed[0]!.label, failed[0]!.error ?? '');
  if (snapshot.running) return emptyState('Nothing finished yet', 'Results appear here as soon as the first trial has finished.', progressRing('Running'));
  if (snapshot.progress.finished) {
    return emptyState('No predictions', 'The finished trials were evaluated on neither a test nor a validation split. '
      + 'Add one to evaluation.splits in the study file and run it again.');
  }
  return emptyState('Nothing finished yet', 'Run the study until at least one trial has finished.');
}

function allFailed(label: string, error: string): Tree {
  return emptyState('All trials failed', `The first one, ${label}, says:`, h('pre', { class: 'error-block' }, error));
}
