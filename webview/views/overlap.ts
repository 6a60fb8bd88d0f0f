import type { Overlap, PairMistake, SnapshotTrial } from '../../src/common/snapshot';
import type { PanelContext } from '../context';
import { h } from '../dom';
import type { Child, Tree } from '../dom';
import { counted, integer, percent, points } from '../../src/common/format';
import { ensembleGain } from '../../src/common/ranking';
import type { PanelState } from '../state';
import { gallery } from './gallery';

interface Compared {
  first: SnapshotTrial;
  second: SnapshotTrial;
  overlap: Overlap;
}

/** Whose mistakes are whose: two bars that share their common part, the ensemble, and the pictures of a part. */
export function overlapSection(context: PanelContext, compared: Compared): Tree {
  const { first, second, overlap } = compared;
  return h('section', { 'class': 'overlap', 'aria-label': `Mistakes of ${first.label} and ${second.label}` },
    h('h2', {}, `${first.label} and ${second.label}`, h('span', { class: 'muted' }, ` ${counted(overlap.samples, 'image')} (${overlap.split})`)),
    h('div', { class: 'overlap-row' }, figure(context, compared), numbers(compared)),
    pictures(context, compared));
}

/** A rectangular Venn diagram: the upper bar is the first trial's mistakes, the lower one the second's. */
function figure(context: PanelContext, { first, second, overlap }: Compared): Tree {
  const part = (kind: PanelState['kind'], name: string, count: number, text: string) => h('button', {
    'class': `part ${name}`, 'aria-pressed': String(context.state.kind === kind), 'title': 'Show these pictures',
    'aria-label': `${counted(count, 'image')} ${text}`, 'onclick': () => context.change({ kind }),
  }, h('span', { class: 'part-count' }, integer(count)), h('span', { class: 'part-text' }, text));
  const column = (count: number) => count ? `minmax(6.5em, ${count}fr)` : 'minmax(6.5em, 0fr)';
  const templates = [overlap.onlyAWrong, overlap.bothWrong, overlap.onlyBWrong].map(column).join(' ');
  return h('div', { 'class': 'venn', 'role': 'group', 'aria-label': 'Wrongly classified images', 'style': { 'grid-template-columns': templates } },
    h('span', { class: 'venn-name venn-first' }, `${first.label}: ${integer(overlap.onlyAWrong + overlap.bothWrong)} wrong`),
    part('onlyAWrong', 'only-first', overlap.onlyAWrong, 'only it wrong'),
    part('bothWrong', 'both', overlap.bothWrong, 'both wrong'),
    part('onlyBWrong', 'only-second', overlap.onlyBWrong, 'only it wrong'),
    h('span', { class: 'venn-name venn-second' }, `${second.label}: ${integer(overlap.onlyBWrong + overlap.bothWrong)} wrong`));
}

function numbers({ first, second, overlap: o }: Compared): Tree {
  const share = (count: number) => percent(o.samples ? count / o.samples : null);
  const tile = (name: string, value: string, note: string, kind = '') =>
    h('div', { class: `tile ${kind}` }, h('dt', {}, name), h('dd', {}, value), h('dd', { class: 'note' }, note));
  return h('dl', { class: 'tiles' },
    tile(first.label, share(o.bothRight + o.onlyBWrong), 'top-1'), tile(second.label, share(o.bothRight + o.onlyAWrong), 'top-1'),
    tile('Ensemble', percent(o.ensembleTop1), `${points(ensembleGain(o))} points against the better one`, 'strong'),
    tile('Both right', integer(o.bothRight), `${share(o.bothRight)} of the images`),
    tile('Same wrong answer', integer(o.sameMistake), `of ${integer(o.bothWrong)} both wrong`));
}

function pictures(context: PanelContext, { first, second, overlap }: Compared): Child {
  const { kind } = context.state;
  const shown = overlap.examples[kind];
  const title = { onlyAWrong: `Only ${first.label} wrong`, onlyBWrong: `Only ${second.label} wrong`, bothWrong: 'Both wrong' }[kind];
  const total = overlap[kind];
  return [
    h('h3', {}, title, h('span', { class: 'muted' }, shown.length < total ? ` ${shown.length} of ${integer(total)}` : ` ${integer(total)}`)),
    shown.length ? gallery(context, {
      name: `${overlap.a} ${overlap.b} ${kind}`, dataSet: first.dataSet,
      pictures: shown.map(p => ({ key: p.sample, path: p.path, lines: captions(context, first.dataSet, p, kind) })),
    }) : h('p', { class: 'empty' }, 'No such images.'),
  ];
}

function captions({ snapshot }: PanelContext, dataSet: string, { label, predictedA, predictedB }: PairMistake, kind: PanelState['kind']): string[] {
  const classes = snapshot.dataSets.find(d => d.name === dataSet)?.classes ?? [];
  const name = (i: number) => classes[i] ?? String(i);
  const answers = kind === 'onlyAWrong' ? name(predictedA) : kind === 'onlyBWrong' ? name(predictedB)
    : predictedA === predictedB ? name(predictedA) : `${name(predictedA)}, ${name(predictedB)}`;
  return [name(label), `→ ${answers}`];
}
