import type { Trace } from '../graph/nodes';
import { dropUnused, type Pass } from '../graph/passes';
import { computeTogether } from './compute-together';
import { fuseChains } from './fuse-chains';
import { fuseNorms } from './fuse-norms';
import { fuseProducts } from './fuse-products';
import { keepLogSums } from './keep-log-sums';
import { multiplyInQuarters } from './multiply-in-quarters';
import { saveDerivatives } from './save-derivatives';
import { splitReductions } from './split-reductions';

/** What saves time and may be left out for diagnosis, as those that every graph goes through (graph/passes.ts): before and after chains are made. */
const beforeChains: readonly Pass[] = [
  { name: 'save-derivatives', run: saveDerivatives },
  { name: 'fuse-norms', run: fuseNorms },
  { name: 'fuse-products', run: fuseProducts },
  { name: 'multiply-in-quarters', run: multiplyInQuarters },
];
const afterChains: readonly Pass[] = [{ name: 'compute-together', run: computeTogether }];
export const optionalPasses: readonly Pass[] = [...beforeChains, ...afterChains];

/** The list as the kernels know it: with attention, sums and chains in their form. */
export function forKernels(trace: Trace, { without = [] }: { without?: readonly string[] } = {}): Trace {
  const apply = (passes: readonly Pass[], list: Trace) => passes.filter(({ name }) => !without.includes(name)).reduce((before, { run }) => run(before), list);
  const needed = dropUnused(keepLogSums(splitReductions(trace)));
  return apply(afterChains, fuseChains(apply(beforeChains, needed)));
}
