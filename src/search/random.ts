import { streamKey, uniform } from '../common/random';
import type { Assignment } from '../common/resolve';
import { canonicalJson } from '../common/trial-id';
import type { SearchAlgorithm } from './search';
import { pointOf, type SearchSpace } from './space';

const DEFAULT_TRIALS = 10;
/** Draws of what was tried already before the space counts as exhausted. */
const DRAWS = 1000;

/** Independent draws, each combination at most once; draw n is the same whatever the results were. */
export const randomSearch: SearchAlgorithm = {
  ask(space, tried, { seed, trials = DEFAULT_TRIALS }) {
    if (tried.length >= trials) return null;
    const known = new Set(tried.map(t => canonicalJson(t.assignment)));
    for (let draw = 0; draw < DRAWS; draw++) {
      const assignment = drawAssignment(space, [seed, tried.length, draw]);
      if (!known.has(canonicalJson(assignment))) return assignment;
    }
    return null;
  },
};

function drawAssignment(space: SearchSpace, [seed, number, draw]: [number, number, number]): Assignment {
  return Object.fromEntries(space.map(({ key, range }) => {
    const place = uniform(streamKey(seed, 'random-search', key, number), draw);
    return [key, Array.isArray(range) ? range[Math.floor(place * range.length)]! : pointOf(range, place)];
  }));
}
