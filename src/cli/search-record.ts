import { metricValue } from '../common/ranking';
import type { Trial, TrialResult } from '../common/trial';
import type { Plan } from '../search/plan';
import type { StudyStore } from '../store/study-store';

/** Appends to search.jsonl what was asked and what is known by now, each once over all runs. */
export function recordSearch(store: StudyStore, { asked, trials }: Plan): void {
  const known = new Set(store.readSearch().map(event => `${event.type} ${event.search} ${event.number}`));
  const byId = new Map(trials.map(trial => [trial.id, trial]));
  for (const { search, number, assignment, trials: ids } of asked) {
    if (!known.has(`ask ${search} ${number}`)) store.appendSearch({ type: 'ask', time: Date.now(), search, number, assignment, trials: ids });
    const value = meanValue(store, ids.map(id => byId.get(id)!));
    if (value !== null && !known.has(`tell ${search} ${number}`)) store.appendSearch({ type: 'tell', time: Date.now(), search, number, value });
  }
}

/** Mean over the seeds of what the selection looks at; null until all are finished. */
function meanValue(store: StudyStore, trials: readonly Trial[]): number | null {
  const values = trials.map(trial => {
    const result = store.readResult(trial.id);
    return result && selectionValue(result, trial);
  });
  return values.some(v => v === null || v === undefined) ? null : values.reduce<number>((sum, v) => sum + v!, 0) / values.length;
}

function selectionValue({ last, best, selection }: TrialResult, { recipe }: Trial): number | null {
  const score = recipe.selection.epoch === 'best' ? best : last;
  const metrics = score[selection.split];
  return metrics ? metricValue(metrics, recipe.selection.metric) : null;
}
