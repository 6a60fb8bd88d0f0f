import type { Trace } from '../graph/nodes';
import { dropUnused } from '../graph/passes';
import { fuseChains } from './fuse-chains';
import { fuseNorms } from './fuse-norms';
import { fuseProducts } from './fuse-products';
import { keepLogSums } from './keep-log-sums';
import { saveDerivatives } from './save-derivatives';
import { splitReductions } from './split-reductions';

/** In the order in which they run. The kernels know sums over axes side by side, chains, and attention as it is here; the others save time. */
export const nativePasses: readonly { name: string; run(trace: Trace): Trace }[] = [
  { name: 'split-reductions', run: splitReductions },
  { name: 'save-derivatives', run: saveDerivatives },
  { name: 'keep-log-sums', run: trace => dropUnused(keepLogSums(trace)) },
  { name: 'fuse-norms', run: fuseNorms },
  { name: 'fuse-products', run: fuseProducts },
  { name: 'fuse-chains', run: fuseChains },
];
