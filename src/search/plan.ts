/** All trials of a study, in the order in which they run: data set by data set, method by method. Pure. */
import { methodName, resolveTrial, type Assignment, type StudyFacts } from '../common/resolve';
import type { MethodEntry, Study } from '../common/study';
import type { Trial, TrialDataSet } from '../common/trial';
import { shortHash } from '../common/trial-id';
import { askAll, searchAlgorithm } from './search';
import { searchSpace } from './space';

export interface PlanInput {
  study: Study;
  facts: StudyFacts;
  dataSets: readonly TrialDataSet[];
}

export interface Plan {
  asked: Asked[];
  /** Each once, whatever the number of places in the study that come to it. */
  trials: Trial[];
}

/** One ask of one search, and the trials (one a seed) that answer it. */
export interface Asked {
  /** Names the search: its data set, method and ranges. */
  search: string;
  number: number;
  assignment: Assignment;
  trials: string[];
}

export function planTrials(input: PlanInput): Plan {
  const pairs = input.dataSets.flatMap(dataSet => input.study.methods.map(entry => ({ dataSet, entry })));
  const planned = pairs.flatMap(pair => planSearch(input, pair));
  const trials = new Map(planned.flatMap(p => p.trials).map(trial => [trial.id, trial]));
  return {
    asked: planned.map(p => ({ ...p, trials: p.trials.map(t => t.id) })),
    trials: [...trials.values()],
  };
}

function planSearch({ study, facts }: PlanInput, { dataSet, entry }: { dataSet: TrialDataSet; entry: MethodEntry }) {
  const space = searchSpace(study, entry);
  const search = searchName(study, { dataSet, entry });
  const assignments = askAll(searchAlgorithm(study.search.algorithm), space, { seed: study.search.seed, trials: study.search.trials });
  return assignments.map((assignment, number) => ({
    search, number, assignment,
    trials: study.recipe.seeds.map(seed => resolveTrial({ study, facts, dataSet, entry, assignment, seed })),
  }));
}

/** Readable, and another one whenever what is searched changes. */
function searchName(study: Study, { dataSet, entry }: { dataSet: TrialDataSet; entry: MethodEntry }): string {
  const { seeds: _, ...recipe } = study.recipe;
  return `${dataSet.name}/${methodName(study, entry)}/${shortHash({ data: dataSet.fingerprint, entry, recipe, search: study.search })}`;
}
