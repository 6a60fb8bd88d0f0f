import type { Snapshot } from '../../src/common/snapshot';
import type { PanelContext } from '../context';
import { h } from '../dom';
import type { Child, Tree } from '../dom';
import { button } from '../elements';
import { counted, roughDuration } from '../../src/common/format';
import { icon } from './icons';

/** Name, progress and what can be done; in a report the findings instead. */
export function header(context: PanelContext): Tree {
  const { snapshot } = context;
  return h('header', { class: 'study-header' },
    h('div', { class: 'title-row' },
      h('h1', {}, snapshot.study.name || 'Study'),
      context.send && h('div', { class: 'actions', role: 'toolbar', 'aria-label': 'Study' }, actions(context)),
    ),
    h('p', { class: 'progress-text', role: 'status' }, progressText(snapshot)),
    progressBar(snapshot),
    context.summary.length > 0 && h('section', { 'class': 'summary', 'aria-label': 'Summary' }, h('ul', {}, context.summary.map(line => h('li', {}, line)))),
    warnings(snapshot),
  );
}

/** `8 of 12 trials finished, 1 failed. Now: full. About 12 min left.` */
export function progressText({ progress, running }: Snapshot): string {
  const { finished, failed, total, current, secondsLeft } = progress;
  if (!total) return running ? 'Preparing the trials …' : 'No trials yet.';
  const share = finished === total ? counted(total, 'trial') : `${finished} of ${counted(total, 'trial')}`;
  const done = `${share} finished${failed ? `, ${failed} failed` : ''}.`;
  if (!running) return finished + failed < total ? `${done} Not running.` : done;
  const left = secondsLeft === null ? '' : ` ${secondsLeft < 50 ? 'Less than a minute' : `About ${roughDuration(secondsLeft)}`} left.`;
  return `${done}${current ? ` Now: ${current}.` : ''}${left}`;
}

function actions({ snapshot, send }: PanelContext): Child {
  const ask = (type: 'run' | 'cancel' | 'openStudy' | 'openReport') => () => send?.({ type });
  return [
    snapshot.running ? button({ label: 'Cancel', onClick: ask('cancel') }) : button({ label: 'Run Study', appearance: 'primary', onClick: ask('run') }),
    button({ label: 'Open Study File', onClick: ask('openStudy') }),
    snapshot.progress.finished > 0 && button({ label: 'Open Report', title: 'Open the report page in the browser', onClick: ask('openReport') }),
  ];
}

function progressBar({ progress: { finished, failed, total }, running, trials }: Snapshot): Child {
  if (!running || !total) return null;
  const partial = trials.filter(t => t.status === 'running').reduce((sum, t) => sum + t.epoch / Math.max(1, t.epochs), 0);
  const share = Math.min(1, (finished + failed + partial) / total);
  return h('div', {
    'class': 'progress-bar', 'role': 'progressbar', 'aria-label': 'Study',
    'aria-valuenow': Math.round(100 * share), 'aria-valuemin': 0, 'aria-valuemax': 100,
  }, h('div', { style: { width: `${100 * share}%` } }));
}

function warnings({ warnings: all }: Snapshot): Child {
  if (!all.length) return null;
  return h('details', { class: 'notice' }, h('summary', {}, icon('warning'), counted(all.length, 'warning')), h('ul', {}, all.map(w => h('li', {}, w))));
}
