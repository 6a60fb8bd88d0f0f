import { openEager } from './eager';
import { openGraph } from './graph';
import type { Engine, EngineId } from './program';

/** Every engine there is, fastest first as a rule; which one trains is found by measurement (choose.ts). */
export const engines: Record<EngineId, Engine> = {
  graph: { id: 'graph', deterministic: true, open: openGraph },
  wasm: { id: 'wasm', deterministic: true, open: options => openEager('wasm', options) },
  cpu: { id: 'cpu', deterministic: true, open: options => openEager('cpu', options) },
};
