/**
 * Which random masks a training step takes. They are feeds of the program, so they must be known before it runs: the
 * forward pass is traced once, which computes nothing, and every mask that is asked for on the way is noted.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { trace } from '../engine/graph/trace';
import type { HostTensors, Program } from '../engine/program';
import { baseParameters, gridSide } from '../vit/architecture';
import { forward } from '../vit/forward';
import { bindMethod, type MaskRequest } from './bind';
import { adapterTensors, type ModelTensors } from './trainable';

export interface NoisyModel extends ModelTensors {
  batch: number;
  dropPath: number;
  dropout: boolean;
}

/** In the order in which the forward pass asks for them. */
export async function collectMasks(model: NoisyModel): Promise<MaskRequest[]> {
  const masks = new Map<string, MaskRequest>();
  const mask = (request: MaskRequest) => {
    if (masks.has(request.name)) throw new Error(`${model.method.title} asks for the mask '${request.name}' twice`);
    masks.set(request.name, request);
    return null;
  };
  const { patch } = model.architecture;
  const program: Program = {
    feeds: [{ name: 'patches', shape: [gridSide(model.architecture) ** 2 * model.batch, 3 * patch ** 2], dtype: 'float32' }],
    run(tensors) {
      const tensor = (name: string): Tensor => {
        const found = tensors[name];
        if (!found) throw new Error(`${model.method.title} asks for a tensor '${name}' that nobody declares`);
        return found;
      };
      const hooks = bindMethod({ ...model, tensor, training: { ...model, mask } });
      const { logits } = forward({ ...model, patches: tensor('patches'), weights: tensor, hooks });
      return { fetches: { logits }, state: {} };
    },
  };
  await trace({ program, state: {}, constants: shapesAlone(model) });
  return [...masks.values()];
}

/** A trace reads shapes and no values. */
function shapesAlone(model: ModelTensors): HostTensors {
  const declared = [...baseParameters(model.architecture), ...adapterTensors(model)];
  return Object.fromEntries(declared.map(({ name, shape }) => [name, { shape, data: new Float32Array() }]));
}
