import type { SnapshotTrial } from '../../src/common/snapshot';
import type { Appearances } from '../charts/curves';
import type { PanelContext } from '../context';
import { h } from '../dom';
import type { Child, Tree } from '../dom';
import { checkbox } from '../elements';
import { columns, statusText } from '../trials';
import type { Column } from '../trials';
import { icon } from './icons';
import { swatch } from './swatch';

export interface TrialTableOptions {
  trials: readonly SnapshotTrial[];
  /** Ids of the trials whose curves are drawn. */
  drawn: ReadonlySet<string>;
  appearances: Appearances;
}

/** One row a trial; a click on a column's title sorts by it. */
export function trialTable(context: PanelContext, { trials, drawn, appearances }: TrialTableOptions): Tree {
  const shown = shownColumns(context);
  const best = bestValues(trials, shown);
  return h('div', { 'class': 'table-box', 'tabindex': '0', 'role': 'region', 'aria-label': 'Trials' },
    h('table', { class: 'trials' },
      h('thead', {}, h('tr', {},
        h('th', { class: 'choose', scope: 'col' }, h('span', { class: 'hidden-text' }, 'Draw')),
        shown.map(column => headerCell(context, column)))),
      h('tbody', {}, trials.map(trial => h('tr', { key: trial.id, class: drawn.has(trial.id) ? 'drawn' : '' },
        h('td', { class: 'choose' }, checkbox({
          label: `Draw the curves of ${trial.label}`, checked: drawn.has(trial.id), onChange: checked => choose(context, drawn, trial, checked),
        })),
        shown.map(column => bodyCell(context, column, trial, { isBest: best.get(`${column.id} ${trial.dataSet}`) === column.value(trial), appearances })),
      ))),
    ));
}

/** The method's id says nothing where labels begin with it, nor the data set where there is one. */
function shownColumns({ snapshot }: PanelContext): Column[] {
  const needsMethod = snapshot.trials.some(t => !t.label.startsWith(t.method));
  return columns.filter(c => (c.id !== 'dataSet' || snapshot.dataSets.length > 1) && (c.id !== 'method' || needsMethod));
}

/** The best accuracies of each data set, which are set in bold; one trial alone is no best. */
function bestValues(trials: readonly SnapshotTrial[], shown: readonly Column[]): Map<string, number> {
  const compared = shown.filter(c => ['validation', 'test', 'balanced', 'f1'].includes(c.id));
  const dataSets = [...new Set(trials.map(t => t.dataSet))];
  return new Map(compared.flatMap(c => dataSets.flatMap((dataSet): [string, number][] => {
    const values = trials.filter(t => t.dataSet === dataSet).map(c.value).filter(v => typeof v === 'number');
    return values.length > 1 ? [[`${c.id} ${dataSet}`, Math.max(...values)]] : [];
  })));
}

function headerCell({ state: { sort }, change }: PanelContext, column: Column): Tree {
  const isSorted = sort.column === column.id;
  const direction = isSorted ? (sort.descending ? 'descending' : 'ascending') : 'none';
  // Large accuracies, small labels: what one wants to see first comes first.
  const onclick = () => change({ sort: { column: column.id, descending: isSorted ? !sort.descending : column.numeric } });
  return h('th', { 'key': column.id, 'scope': 'col', 'aria-sort': direction, 'class': column.numeric ? 'number' : column.id },
    h('button', { class: 'sort', title: column.explanation, onclick },
      column.title, h('span', { 'class': 'arrow', 'aria-hidden': 'true' }, isSorted ? (sort.descending ? '↓' : '↑') : '')));
}

function bodyCell(context: PanelContext, column: Column, trial: SnapshotTrial, { isBest, appearances }: { isBest: boolean; appearances: Appearances }): Tree {
  if (column.id === 'label') return h('th', { scope: 'row', class: 'label' }, labelContent(context, trial, appearances));
  if (column.id === 'status') return h('td', { class: 'status' }, statusContent(trial));
  return h('td', { class: column.numeric ? `number${isBest ? ' best' : ''}` : column.id }, column.text(trial));
}

function labelContent({ change }: PanelContext, trial: SnapshotTrial, appearances: Appearances): Child {
  const open = () => change({ tab: 'mistakes', first: trial.id, cell: null });
  return h('span', { class: 'label-content' },
    swatch(appearances.get(trial.id)),
    trial.confusion
      ? h('button', { class: 'link', title: `Show the mistakes of ${trial.label}`, onclick: open }, trial.label)
      : h('span', {}, trial.label),
    trial.warnings.length > 0 && h('span', {
      'class': 'has-warning', 'title': trial.warnings.join('\n'), 'role': 'img', 'aria-label': `Warning: ${trial.warnings.join('; ')}`,
    }, icon('warning')));
}

function statusContent(trial: SnapshotTrial): Child {
  return h('span', { class: `status-content status-${trial.status}`, title: trial.error }, icon(trial.status), h('span', { class: 'status-text' }, statusText(trial)));
}

function choose({ snapshot, change }: PanelContext, drawn: ReadonlySet<string>, trial: SnapshotTrial, checked: boolean): void {
  change({ selected: snapshot.trials.map(t => t.id).filter(id => id === trial.id ? checked : drawn.has(id)) });
}
