import { bestPerMethod } from '../../src/common/ranking';
import type { Overlap, SnapshotTrial } from '../../src/common/snapshot';
import type { PanelContext } from '../context';
import { h } from '../dom';
import type { Child, Tree } from '../dom';
import { dropdown } from '../elements';
import { percent } from '../../src/common/format';
import type { PanelState } from '../state';
import { overlapBetween } from '../trials';

interface Measure {
  label: string;
  explanation: string;
  value: (overlap: Overlap) => number;
}

const wrongSomewhere = (o: Overlap) => o.onlyAWrong + o.onlyBWrong + o.bothWrong;

const measures: Record<PanelState['measure'], Measure> = {
  common: {
    label: 'Mistakes in common',
    explanation: 'Images that both get wrong, of those that at least one gets wrong: low means that the two complement each other.',
    value: o => wrongSomewhere(o) ? o.bothWrong / wrongSomewhere(o) : 0,
  },
  same: {
    label: 'Same wrong answer', explanation: 'Images with the same wrong answer, of those that at least one gets wrong.',
    value: o => wrongSomewhere(o) ? o.sameMistake / wrongSomewhere(o) : 0,
  },
  ensemble: {
    label: 'Ensemble top-1', explanation: 'Accuracy of the mean of the two trials\' probabilities.',
    value: o => o.ensembleTop1,
  },
};

const whichChosen = 'Trials ticked in Sweep.';
const whichBest = 'Best trial of each method; tick three or more in Sweep to choose.';

/** All pairs of three or more trials: those chosen in the sweep, else the best one of each method. */
export function overlapMatrix(context: PanelContext, candidates: readonly SnapshotTrial[]): Child {
  const chosen = candidates.filter(t => context.state.selected?.includes(t.id));
  const trials = chosen.length >= 3 ? chosen : bestPerMethod(candidates);
  if (trials.length < 3) return null;
  const measure = measures[context.state.measure];
  const measureChoices = Object.entries(measures).map(([value, m]) => ({ value, label: m.label }));
  return h('section', { 'class': 'overlap-matrix', 'aria-label': 'All pairs' },
    h('div', { class: 'section-row' }, h('h2', {}, 'All pairs'),
      dropdown({
        label: 'Show', value: context.state.measure, choices: measureChoices,
        onChange: value => context.change({ measure: value as PanelState['measure'] }),
      })),
    h('p', { class: 'muted' }, [measure.explanation, chosen.length >= 3 ? whichChosen : whichBest, 'A click compares the two.'].join(' ')),
    h('div', { 'class': 'table-box', 'tabindex': '0', 'role': 'region', 'aria-label': 'All pairs' }, table(context, trials, measure)));
}

function table(context: PanelContext, trials: readonly SnapshotTrial[], measure: Measure): Tree {
  const values = trials.map(a => trials.map(b => {
    const overlap = a === b ? null : overlapBetween(context.snapshot.overlaps, a.id, b.id);
    return overlap && measure.value(overlap);
  }));
  const present = values.flat().filter(v => v !== null);
  const [low, high] = [Math.min(...present), Math.max(...present)];
  return h('table', { class: 'matrix' },
    h('thead', {}, h('tr', {},
      h('th', { scope: 'col' }, h('span', { class: 'hidden-text' }, 'Trial')),
      trials.map((t, i) => h('th', { key: t.id, scope: 'col', title: t.label, class: 'number' }, i + 1)))),
    h('tbody', {}, trials.map((a, i) => h('tr', { key: a.id },
      h('th', { scope: 'row' }, h('span', { class: 'muted number' }, `${i + 1} `), a.label),
      trials.map((b, j) => h('td', { key: b.id }, cell(context, a, b, values[i]![j]!, { low, high })))))));
}

/** Stronger where the value is larger, between the smallest and the largest of the table. */
function cell({ change, state }: PanelContext, a: SnapshotTrial, b: SnapshotTrial, value: number | null, { low, high }: { low: number; high: number }): Child {
  if (value === null) return h('span', { class: 'diagonal' }, a === b ? '' : '–');
  const strength = high > low ? (value - low) / (high - low) : 0.5;
  const isShown = (state.first === a.id && state.second === b.id) || (state.first === b.id && state.second === a.id);
  return h('button', {
    'class': 'matrix-cell', 'aria-pressed': String(isShown), 'aria-label': `${a.label} and ${b.label}: ${percent(value)}`,
    'style': { '--strength': `${Math.round(8 + 52 * strength)}%` },
    'onclick': () => change({ first: a.id, second: b.id, cell: null, scroll: 0 }),
  }, percent(value));
}
