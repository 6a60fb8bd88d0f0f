/**
 * What all search algorithms are: a pure function from the space and everything tried so far to the next thing to try.
 * Nothing is remembered elsewhere, so that the lines of search.jsonl restore a search at any moment.
 */
import type { Assignment } from '../common/resolve';
import type { Study } from '../common/study';
import { gridSearch } from './grid';
import { randomSearch } from './random';
import type { SearchSpace } from './space';

/** Something tried; `value` is the selection metric, higher being better, and null while it runs or when it failed. */
export interface Tried {
  assignment: Assignment;
  value: number | null;
}

export interface SearchOptions {
  seed: number;
  /** How many assignments to try at most. */
  trials: number | undefined;
}

export interface SearchAlgorithm {
  /** The next assignment to try; null when there is none left. */
  ask(space: SearchSpace, tried: readonly Tried[], options: SearchOptions): Assignment | null;
}

const algorithms: Record<Study['search']['algorithm'], SearchAlgorithm> = { grid: gridSearch, random: randomSearch };

export function searchAlgorithm(name: Study['search']['algorithm']): SearchAlgorithm {
  return algorithms[name];
}

/** Everything an algorithm wants to try before it has to hear of a result: all of it, for grid and random. */
export function askAll(algorithm: SearchAlgorithm, space: SearchSpace, options: SearchOptions): Assignment[] {
  const tried: Tried[] = [];
  for (let next = algorithm.ask(space, tried, options); next; next = algorithm.ask(space, tried, options)) {
    tried.push({ assignment: next, value: null });
  }
  return tried.map(t => t.assignment);
}
