import type { Mark } from './charts/parameters-accuracy';

/** The marks that no other beats with as few parameters, by growing parameters. */
export function paretoFront(marks: readonly Mark[]): Mark[] {
  const ordered = [...marks].sort((a, b) => a.parameters - b.parameters || b.accuracy - a.accuracy);
  let best = -Infinity;
  return ordered.filter(mark => {
    if (mark.accuracy <= best) return false;
    best = mark.accuracy;
    return true;
  });
}
