import { bestPerMethod } from '../../src/common/ranking';
import type { Metrics } from '../../src/common/trial';
import type { SnapshotTrial } from '../../src/common/snapshot';
import { chart } from '../charts/chart-element';
import { parametersAccuracy } from '../charts/parameters-accuracy';
import type { Mark } from '../charts/parameters-accuracy';
import type { Appearances } from '../charts/curves';
import type { PanelContext } from '../context';
import { h } from '../dom';
import type { Child, Tree } from '../dom';
import { dropdown } from '../elements';
import { integer, percent } from '../../src/common/format';
import { paretoFront } from '../pareto';
import type { PanelState } from '../state';
import { appearances as appearancesOf } from '../trials';
import { noAnswers } from './empty';
import { swatch } from './swatch';

const metricNames: Record<PanelState['metric'], string> = { top1: 'top-1', balancedAccuracy: 'balanced accuracy', macroF1: 'macro-F1' };

const frontNote = 'The dashed line joins the best trials of the methods that no other method\'s best one beats with as few parameters '
  + '(Pareto front).';

/** Trained parameters against accuracy: what a method's size buys. */
export function parametersView(context: PanelContext): Child {
  const { snapshot, state } = context;
  const finished = snapshot.trials.filter(t => t.status === 'finished');
  const dataSets = snapshot.dataSets.filter(d => finished.some(t => t.dataSet === d.name));
  const dataSet = dataSets.find(d => d.name === state.dataSet) ?? dataSets[0];
  const trials = finished.filter(t => t.dataSet === dataSet?.name);
  const split = trials.some(t => t.test) ? 'test' : 'validation';
  const marks = trials.flatMap(trial => markOf(trial, split, state));
  if (!marks.length) return noAnswers(context);
  const best = bestPerMethod(trials).flatMap(t => marks.filter(m => m.trial === t));
  const front = paretoFront(best);
  const appearances = appearancesOf(snapshot.trials);
  const title = `${split === 'test' ? 'Test' : 'Validation'} ${metricNames[state.metric]}`;
  return [
    toolbar(context, dataSets.map(d => d.name), dataSet?.name ?? ''),
    h('div', { class: 'parameters-row' },
      h('div', {},
        chart({
          ...parametersAccuracy({ marks, front, appearances, title }), name: 'parameters-chart',
          description: `Trained parameters against ${title}; the table beside it has the numbers`,
        }),
        h('p', { class: 'muted chart-note' }, frontNote)),
      table(best, { front, title, appearances })),
  ];
}

const metricChoices: { value: PanelState['metric']; label: string }[] = [
  { value: 'top1', label: 'Top-1' }, { value: 'balancedAccuracy', label: 'Balanced accuracy' }, { value: 'macroF1', label: 'Macro-F1' },
];
const epochChoices: { value: PanelState['epoch']; label: string }[] = [{ value: 'last', label: 'Last' }, { value: 'best', label: 'Best on validation' }];

function toolbar({ state, change }: PanelContext, dataSets: readonly string[], dataSet: string): Child {
  return h('div', { 'class': 'toolbar', 'role': 'group', 'aria-label': 'What to show' },
    dropdown({ label: 'Metric', value: state.metric, choices: metricChoices, onChange: metric => change({ metric: metric as PanelState['metric'] }) }),
    dropdown({ label: 'Epoch', value: state.epoch, choices: epochChoices, onChange: epoch => change({ epoch: epoch as PanelState['epoch'] }) }),
    dataSets.length > 1 && dropdown({
      label: 'Data set', value: dataSet, choices: dataSets.map(value => ({ value, label: value })), onChange: name => change({ dataSet: name }),
    }));
}

function markOf(trial: SnapshotTrial, split: 'test' | 'validation', { metric, epoch }: PanelState): Mark[] {
  const metrics: Record<typeof split, Metrics | null> = epoch === 'best' ? { test: trial.bestTest, validation: trial.bestValidation } : trial;
  const accuracy = metrics[split]?.[metric];
  return accuracy === undefined ? [] : [{ trial, parameters: trial.parameters.trainable, accuracy }];
}

function table(best: readonly Mark[], { front, title, appearances }: {
  front: readonly Mark[]; title: string; appearances: Appearances;
}): Tree {
  const rows = [...best].sort((a, b) => b.accuracy - a.accuracy);
  return h('div', { 'class': 'table-box', 'tabindex': '0', 'role': 'region', 'aria-label': 'Best trial of each method' },
    h('table', { class: 'best-trials' },
      h('caption', {}, 'Best trial of each method, chosen on validation where there is one'),
      h('thead', {}, h('tr', {},
        h('th', { scope: 'col' }, 'Trial'),
        h('th', { scope: 'col', class: 'number' }, title),
        h('th', { scope: 'col', class: 'number' }, 'Parameters'),
        h('th', { scope: 'col', class: 'number', title: 'Trained parameters as a share of the backbone\'s' }, 'Share'))),
      h('tbody', {}, rows.map(mark => row(mark, front.includes(mark), appearances)))));
}

function row({ trial, accuracy, parameters }: Mark, isOnFront: boolean, appearances: Appearances): Tree {
  return h('tr', { key: trial.id },
    h('th', { scope: 'row', class: 'label' }, h('span', { class: 'label-content' },
      swatch(appearances.get(trial.id)), trial.label,
      isOnFront && h('span', { class: 'front-mark', title: 'On the Pareto front' }, '◆', h('span', { class: 'hidden-text' }, ' on the Pareto front')))),
    h('td', { class: 'number' }, percent(accuracy)), h('td', { class: 'number' }, integer(parameters)),
    h('td', { class: 'number' }, `${Number((100 * parameters / trial.parameters.backbone).toPrecision(2))}%`));
}
