import type { Assignment } from '../common/resolve';
import type { SearchAlgorithm } from './search';
import { pointOf, type SearchSpace } from './space';

/** Every combination, in the order of scikit-learn's ParameterGrid: keys alphabetical, the last one fastest. */
export const gridSearch: SearchAlgorithm = {
  ask(space, tried, { trials }) {
    const combinations = grid(space);
    return tried.length < Math.min(trials ?? Infinity, combinations.length) ? combinations[tried.length]! : null;
  },
};

/** All combinations; one empty one for an empty space. */
export function grid(space: SearchSpace): Assignment[] {
  return space.reduce<Assignment[]>((all, { key, range }) =>
    all.flatMap(assignment => gridValues(range).map(value => ({ ...assignment, [key]: value }))), [{}]);
}

/** The values that a grid takes from a range: those listed, or `steps` ones over an interval. Each once. */
function gridValues(range: SearchSpace[number]['range']): (number | string | boolean)[] {
  const values = Array.isArray(range) ? range
    : Array.from({ length: range.steps }, (_, i) => pointOf(range, i / (range.steps - 1)));
  return [...new Set(values)];
}
