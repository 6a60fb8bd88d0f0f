import type { Trace } from '../graph/nodes';
import { dropUnused, type Pass } from '../graph/passes';
import { fuseChains } from './fuse-chains';
import { fuseNorms } from './fuse-norms';
import { fuseProducts } from './fuse-products';
import { keepLogSums } from './keep-log-sums';
import { multiplyInQuarters } from './multiply-in-quarters';
import { saveDerivatives } from './save-derivatives';
import { splitReductions } from './split-reductions';

/** What saves time and may be left out for diagnosis, as those that every graph goes through (graph/passes.ts). */
export const optionalPasses: readonly Pass[] = [
  { name: 'save-derivatives', run: saveDerivatives },
  { name: 'fuse-norms', run: fuseNorms },
  { name: 'fuse-products', run: fuseProducts },
  { name: 'multiply-in-quarters', run: multiplyInQuarters },
];

/** The list as the kernels know it: with attention, sums and chains in their form. */
export function forKernels(trace: Trace, { without = [] }: { without?: readonly string[] } = {}): Trace {
  const optional = optionalPasses.filter(({ name }) => !without.includes(name));
  const needed = dropUnused(keepLogSums(splitReductions(trace)));
  return fuseChains(optional.reduce((list, { run }) => run(list), needed));
}
