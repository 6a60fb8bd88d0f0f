import type { Snapshot, SnapshotTrial, TrialStatus } from '../../src/common/snapshot';
import { chart } from '../charts/chart-element';
import { accuracyCurves, lossCurves } from '../charts/curves';
import type { Appearances } from '../charts/curves';
import type { PanelContext } from '../context';
import { h } from '../dom';
import type { Child } from '../dom';
import { button, dropdown, textField } from '../elements';
import { counted, percent } from '../../src/common/format';
import { appearances as appearancesOf, drawnTrials, filterTrials, nameOf, sortTrials } from '../trials';
import { noTrials } from './empty';
import { icon } from './icons';
import { swatch } from './swatch';
import { trialTable } from './trial-table';

/** The trials as a table that sorts and filters, and the curves of the chosen ones. */
export function sweepView(context: PanelContext): Child {
  const { snapshot, state } = context;
  if (!snapshot.trials.length) return noTrials(context);
  const appearances = appearancesOf(snapshot.trials);
  const trials = sortTrials(filterTrials(snapshot.trials, state), state.sort);
  const drawn = drawnTrials(snapshot, state);
  const drawnIds = new Set(state.selected ?? drawn.map(t => t.id));
  return [
    filters(context, trials.length),
    trials.length ? trialTable(context, { trials, drawn: drawnIds, appearances }) : h('p', { class: 'empty' }, 'No trial matches these filters.'),
    problems(snapshot.trials.map(t => named(t, snapshot))),
    curvesSection(context, drawn.map(t => named(t, snapshot)), appearances),
  ];
}

function named(trial: SnapshotTrial, snapshot: Snapshot): SnapshotTrial {
  return { ...trial, label: nameOf(trial, snapshot) };
}

const anyStatus: TrialStatus[] = ['running', 'finished', 'failed', 'interrupted', 'cancelled', 'queued'];

function filters({ snapshot, state, change }: PanelContext, shown: number): Child {
  const methods = [...new Set(snapshot.trials.map(t => t.method))];
  const statuses = anyStatus.filter(s => s === state.status || snapshot.trials.some(t => t.status === s));
  const isFiltered = state.text || state.method || state.status || state.dataSet;
  return h('div', { 'class': 'toolbar', 'role': 'search', 'aria-label': 'Filter trials' },
    textField({ label: 'Filter trials', value: state.text, placeholder: 'Filter', onInput: text => change({ text }) }),
    dropdown({ label: 'Method', value: state.method, choices: orAll(methods), onChange: method => change({ method }) }),
    dropdown({ label: 'Status', value: state.status, choices: orAll(statuses), onChange: status => change({ status: status as TrialStatus | '' }) }),
    snapshot.dataSets.length > 1 && dropdown({
      label: 'Data set', value: state.dataSet, choices: orAll(snapshot.dataSets.map(d => d.name)), onChange: dataSet => change({ dataSet }),
    }),
    isFiltered && h('span', { class: 'filter-count', role: 'status' }, `${shown} of ${counted(snapshot.trials.length, 'trial')}`),
    isFiltered && button({ label: 'Clear Filters', onClick: () => change({ text: '', method: '', status: '', dataSet: '' }) }));
}

function orAll(values: readonly string[]): { value: string; label: string }[] {
  return [{ value: '', label: 'All' }, ...values.map(value => ({ value, label: value }))];
}

/** What went wrong, in full: a table has no room for it. */
function problems(trials: readonly SnapshotTrial[]): Child {
  const troubled = trials.filter(t => t.error || t.warnings.length);
  if (!troubled.length) return null;
  const line = (kind: 'failed' | 'warning', { label }: SnapshotTrial, text: string) =>
    h('p', { class: `${kind}-text` }, icon(kind), h('span', {}, h('strong', {}, label), ` ${text}`));
  return h('section', { 'class': 'problems', 'aria-label': 'Problems' }, h('h2', {}, 'Problems'),
    troubled.map(trial => h('div', { key: trial.id, class: 'problem' },
      trial.error && line('failed', trial, trial.error), trial.warnings.map(w => line('warning', trial, w)))));
}

function curvesSection({ state, change }: PanelContext, drawn: readonly SnapshotTrial[], appearances: Appearances): Child {
  const has = (split: 'validation' | 'test') => drawn.some(t => t.accuracyCurve.some(p => p[split] !== null));
  const hasBoth = has('validation') && has('test');
  const split = hasBoth ? state.curve : has('test') ? 'test' : 'validation';
  return h('section', { 'class': 'curves', 'aria-label': 'Curves' },
    h('div', { class: 'section-row' }, h('h2', {}, 'Curves'),
      hasBoth && dropdown({ label: 'Accuracy on', value: split, choices: splitChoices, onChange: curve => change({ curve: curve as 'validation' | 'test' }) }),
      state.selected && button({ label: 'Choose for Me', title: 'Draw what runs and the best of each method', onClick: () => change({ selected: null }) })),
    drawn.length ? curveCharts(drawn, split, appearances)
      : h('p', { class: 'empty' }, state.selected?.length === 0 ? 'Tick trials in the table to draw their curves.' : 'Curves appear with the first training step.'));
}

const splitChoices = [{ value: 'validation', label: 'Validation' }, { value: 'test', label: 'Test' }];

function curveCharts(drawn: readonly SnapshotTrial[], split: 'validation' | 'test', appearances: Appearances): Child {
  return [
    h('ul', { 'class': 'legend', 'aria-label': 'Trials drawn' }, drawn.map(t => h('li', { key: t.id }, swatch(appearances.get(t.id)), t.label))),
    h('div', { class: 'chart-row' },
      chart({
        ...lossCurves(drawn, appearances), name: 'loss-chart',
        description: describe('Training loss', drawn, t => t.lossCurve.at(-1)?.loss.toPrecision(3)),
      }),
      chart({
        ...accuracyCurves(drawn, split, appearances), name: 'accuracy-chart',
        description: describe(`${split} accuracy`, drawn, t => percent(t.accuracyCurve.at(-1)?.[split])),
      })),
  ];
}

function describe(what: string, drawn: readonly SnapshotTrial[], last: (trial: SnapshotTrial) => string | undefined): string {
  return `${what}, latest values: ${drawn.map(t => `${t.label} ${last(t) ?? 'none'}`).join(', ')}`;
}
