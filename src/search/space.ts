import { isSearchRange } from '../common/check-study';
import type { MethodEntry, SearchRange, Study } from '../common/study';

/** What a search chooses, by dotted key in alphabetical order: `options.rank`, `recipe.learningRate`. */
export type SearchSpace = readonly { key: string; range: SearchRange['search'] }[];
export type Interval = Exclude<SearchRange['search'], readonly unknown[]>;

/** The ranges of one method of a study: of its options, of its own recipe settings, else of the study's. */
export function searchSpace(study: Pick<Study, 'recipe'>, entry: MethodEntry): SearchSpace {
  const own = Object.fromEntries(Object.entries(entry.recipe ?? {}).filter(([, value]) => value !== undefined));
  return [...ranges(entry.options, 'options'), ...ranges({ ...study.recipe, ...own }, 'recipe')]
    .sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** The number at a place between an interval's ends, 0 to 1, on its scale. */
export function pointOf({ min, max, scale, integer }: Interval, place: number): number {
  const point = scale === 'log' ? min * (max / min) ** place : min + (max - min) * place;
  const exact = place === 0 ? min : place === 1 ? max : point;
  return integer ? Math.round(exact) : Number(exact.toPrecision(12)); // 0.1 rather than 0.09999999999999999
}

function ranges(values: object, prefix: string): { key: string; range: SearchRange['search'] }[] {
  return Object.entries(values).flatMap(([key, value]) => {
    if (isSearchRange(value)) return [{ key: `${prefix}.${key}`, range: value.search }];
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? ranges(value as object, `${prefix}.${key}`) : [];
  });
}
