import { UserError } from '../common/errors';
import { openCuda } from './cuda';
import { openEager } from './eager';
import { openGraph } from './graph';
import { openNative } from './native';
import type { Engine, EngineId } from './program';
import { openTensorflow } from './tensorflow';
import { usesGpu } from './tensorflow/binding';
import { openWebGpu } from './webgpu';

/** Every engine there is; which one trains is found by measurement (choose.ts). */
export const engines: Record<EngineId, Engine> = {
  native: engine({
    id: 'native', deterministic: true, precisions: ['f32'], builtInWeights: { copies: 2, worth: Infinity }, fastParts: { images: 4, widest: 5 * 2 ** 20 }, open: openNative,
  }),
  // 2.3 copies by the programs that train (bench/results), and the evaluation's lays them out once more; 8 % less time is not worth more.
  graph: engine({ id: 'graph', deterministic: true, precisions: ['f32', 'f16'], builtInWeights: { copies: 3.5, worth: 0.5 }, open: openGraph }),
  'graph-webgpu': engine({ id: 'graph-webgpu', deterministic: false, ownMemory: true, precisions: ['f32', 'f16'], open: openWebGpu }),
  'graph-cuda': engine({ id: 'graph-cuda', deterministic: false, ownMemory: true, precisions: ['f32', 'tf32', 'bf16', 'f16'], open: openCuda }),
  tensorflow: engine({
    id: 'tensorflow', get deterministic() { return !usesGpu(); }, get ownMemory() { return usesGpu(); }, precisions: ['f32', 'tf32', 'bf16'], open: openTensorflow,
  }),
  wasm: engine({ id: 'wasm', deterministic: true, precisions: ['f32'], open: options => openEager('wasm', options) }),
  cpu: engine({ id: 'cpu', deterministic: true, precisions: ['f32'], open: options => openEager('cpu', options) }),
};

/** The engine itself, which refuses a precision that it does not have. */
function engine(own: Engine): Engine {
  const openOwn = own.open;
  const open: Engine['open'] = async options => {
    const { precision = 'f32' } = options;
    if (own.precisions.includes(precision)) return openOwn(options);
    const others = Object.values(engines).filter(({ precisions }) => precisions.includes(precision)).map(({ id }) => `"${id}"`);
    throw new UserError({
      what: `it cannot compute in ${precision}, only in ${own.precisions.join(', ')}`, where: `engine ${own.id}`,
      remedy: `Set recipe.precision to "${own.precisions[0]}"${others.length ? `, or use the engine ${others.join(' or ')}` : ''}.`,
    });
  };
  return Object.assign(own, { open }); // a copy would hold what its getters said at this moment
}
