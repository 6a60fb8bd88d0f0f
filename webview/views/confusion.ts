import type { Confusion, SnapshotTrial } from '../../src/common/snapshot';
import { chart } from '../charts/chart-element';
import { confusionHeatMap } from '../charts/confusion-heat-map';
import type { Cell } from '../charts/confusion-heat-map';
import type { PanelContext } from '../context';
import { h } from '../dom';
import type { Child, Tree } from '../dom';
import { counted, percent } from '../../src/common/format';
import { gallery } from './gallery';

/** A trial's confusion matrix, its most frequent mistakes and their pictures. */
export function confusionSection(context: PanelContext, trial: SnapshotTrial): Tree | null {
  const { confusion } = trial;
  if (!confusion) return null;
  const classes = context.snapshot.dataSets.find(d => d.name === trial.dataSet)?.classes ?? confusion.matrix.map((_, i) => String(i));
  const chosen = context.state.cell?.trial === trial.id ? context.state.cell : null;
  const onChoose = ({ label, predicted }: Cell) =>
    context.change({ cell: isSame(chosen, { label, predicted }) ? null : { trial: trial.id, label, predicted } });
  const wrong = mistakeCount(confusion);
  return h('section', { 'key': trial.id, 'class': 'confusion', 'aria-label': `Mistakes of ${trial.label}` },
    h('h2', {}, trial.label,
      h('span', { class: 'muted' }, ` ${counted(wrong, 'mistake')} in ${counted(sampleCount(confusion), 'image')} (${confusion.split})`)),
    h('div', { class: 'confusion-row' },
      chart({
        ...confusionHeatMap({ confusion, classes, chosen, onChoose }), name: 'confusion-chart',
        description: `Confusion matrix of ${trial.label}: ${counted(wrong, 'mistake')}. The most frequent ones are listed beside it.`,
      }),
      frequentMistakes(confusion, classes, chosen, onChoose)),
    pictures(context, trial, confusion, classes, chosen));
}

/** What the chart shows, for the keyboard: the cells off the diagonal, largest first. */
function frequentMistakes({ matrix }: Confusion, classes: readonly string[], chosen: Cell | null, onChoose: (cell: Cell) => void): Child {
  const cells = matrix.flatMap((row, label) => row.map((count, predicted) => ({ label, predicted, count })))
    .filter(c => c.count && c.label !== c.predicted).sort((a, b) => b.count - a.count).slice(0, 12);
  if (!cells.length) return h('p', { class: 'empty' }, 'No mistakes.');
  return h('div', { class: 'frequent' }, h('h3', {}, 'Most frequent'), h('ol', {}, cells.map(cell => h('li', { key: `${cell.label} ${cell.predicted}` },
    h('button', { 'class': 'row-button', 'aria-pressed': String(isSame(chosen, cell)), 'onclick': () => onChoose(cell) },
      h('span', { class: 'pair' }, `${classes[cell.label]} → ${classes[cell.predicted]}`), h('span', { class: 'number' }, cell.count))))));
}

function pictures(context: PanelContext, trial: SnapshotTrial, confusion: Confusion, classes: readonly string[], chosen: Cell | null): Child {
  const shown = confusion.mistakes.filter(m => !chosen || isSame(chosen, m));
  const total = chosen ? confusion.matrix[chosen.label]?.[chosen.predicted] ?? 0 : mistakeCount(confusion);
  const title = chosen ? `${classes[chosen.label]} taken for ${classes[chosen.predicted]}` : 'Surest mistakes';
  if (chosen && chosen.label === chosen.predicted) {
    return h('p', { class: 'empty' }, `${counted(total, 'image')} of ${classes[chosen.label]} ${total === 1 ? 'is' : 'are'} classified rightly; `
      + 'choose a cell off the diagonal to see mistakes.');
  }
  if (!total) return null;
  const left = shown.length < total ? ` ${shown.length} of ${total}; the surest ${confusion.mistakes.length} mistakes of a trial are kept` : ` ${total}`;
  return [
    h('h3', {}, title, h('span', { class: 'muted' }, left)),
    gallery(context, {
      folded: context.state.second ? 15 : 36,
      name: `${trial.id} ${chosen ? `${chosen.label} ${chosen.predicted}` : 'all'}`, dataSet: trial.dataSet,
      pictures: shown.map(m => ({ key: m.sample, path: m.path, lines: [`${classes[m.label]} → ${classes[m.predicted]}`, `${percent(m.confidence)} sure`] })),
    }),
  ];
}

function isSame(a: Cell | null, b: Cell): boolean {
  return a !== null && a.label === b.label && a.predicted === b.predicted;
}

function sampleCount({ matrix }: Confusion): number {
  return matrix.flat().reduce((a, b) => a + b, 0);
}

function mistakeCount(confusion: Confusion): number {
  return sampleCount(confusion) - confusion.matrix.reduce((sum, row, i) => sum + row[i]!, 0);
}
