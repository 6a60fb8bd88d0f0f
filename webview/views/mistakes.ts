import { rankTrials } from '../../src/common/ranking';
import type { SnapshotTrial } from '../../src/common/snapshot';
import type { PanelContext } from '../context';
import { h } from '../dom';
import type { Child } from '../dom';
import { dropdown } from '../elements';
import { percent } from '../../src/common/format';
import { nameOf, overlapBetween } from '../trials';
import { confusionSection } from './confusion';
import { noAnswers } from './empty';
import { overlapSection } from './overlap';
import { overlapMatrix } from './overlap-matrix';

/** What one trial confuses; with a second one, whose mistakes are whose; for three or more, all pairs. */
export function mistakesView(context: PanelContext): Child {
  const { snapshot, state } = context;
  const candidates = rankTrials(snapshot.trials.filter(t => t.confusion));
  const first = candidates.find(t => t.id === state.first) ?? candidates[0];
  if (!first) return noAnswers(context);
  const partners = candidates.filter(t => t !== first && t.dataSet === first.dataSet);
  const second = partners.find(t => t.id === state.second) ?? null;
  const overlap = second && overlapBetween(snapshot.overlaps, first.id, second.id);
  return [
    toolbar(context, { candidates, partners, first, second }),
    second && (overlap ? overlapSection(context, { first, second, overlap })
      : h('p', { class: 'empty' }, 'These two were not compared: only the 40 best trials of a data set are, on a split that both were evaluated on.')),
    h('div', { class: second ? 'side-by-side' : '' }, [first, second].map(trial => trial && confusionSection(context, trial))),
    overlapMatrix(context, [first, ...partners]),
  ];
}

function toolbar({ snapshot, change }: PanelContext, { candidates, partners, first, second }: {
  candidates: readonly SnapshotTrial[]; partners: readonly SnapshotTrial[]; first: SnapshotTrial; second: SnapshotTrial | null;
}): Child {
  const choice = (t: SnapshotTrial) => ({ value: t.id, label: `${nameOf(t, snapshot)} (${percent((t.test ?? t.validation)?.top1)})` });
  return h('div', { 'class': 'toolbar', 'role': 'group', 'aria-label': 'Trials to look at' },
    dropdown({ label: 'Trial', value: first.id, choices: candidates.map(choice), onChange: id => change({ first: id, cell: null }) }),
    partners.length > 0 && dropdown({
      label: 'Compare with', value: second?.id ?? '', choices: [{ value: '', label: 'Nothing' }, ...partners.map(choice)],
      onChange: id => change({ second: id || null, cell: null }),
    }));
}
