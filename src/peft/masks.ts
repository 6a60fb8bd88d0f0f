/**
 * Which random masks a training step takes. They are feeds of the program, so they must be known before it runs: the
 * method's hooks are called once on zeros, for batches of one and of two images, and as a mask's sides grow linearly
 * with the batch, that tells them for any batch at hardly any cost.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../common/trial';
import { useBackend } from '../engine/eager';
import { tf } from '../engine/tfjs';
import { baseParameters } from '../vit/architecture';
import type { BlockHooks } from '../vit/forward';
import { bindMethod, type MaskRequest } from './bind';
import type { Branch, LinearSite } from './method';
import { trainableTensors, type ModelTensors } from './trainable';

export interface NoisyModel extends ModelTensors {
  batch: number;
  dropPath: number;
  dropout: boolean;
}

export async function collectMasks(model: NoisyModel): Promise<MaskRequest[]> {
  await useBackend('cpu');
  const one = rehearse({ ...model, batch: 1 });
  const two = rehearse({ ...model, batch: 2 });
  return [...one.values()].map(({ name, shape, rate }) => {
    const growth = two.get(name)!.shape.map((side, axis) => side - shape[axis]!);
    return { name, rate, shape: shape.map((side, axis) => side + (model.batch - 1) * growth[axis]!) };
  });
}

function rehearse(model: NoisyModel): Map<string, MaskRequest> {
  const masks = new Map<string, MaskRequest>();
  const mask = (request: MaskRequest) => {
    if (masks.has(request.name)) throw new Error(`${model.method.title} asks for the mask '${request.name}' twice`);
    masks.set(request.name, request);
    return null;
  };
  tf.tidy(() => {
    const hooks = bindMethod({ ...model, tensor: zeroTensors(model), training: { ...model, mask } });
    for (let block = 0; block < model.architecture.depth; block++) callHooks(hooks, block, model);
  });
  return masks;
}

/** Every hook of a block once, on zeros of the shapes that the forward pass gives it. */
function callHooks(hooks: BlockHooks, block: number, { architecture, batch }: NoisyModel): void {
  const tokens = (architecture.imageSize / architecture.patch) ** 2 + 1;
  const rows = tokens * batch + (hooks.prompts(block)?.shape[0] ?? 0);
  const stream = tf.zeros([rows, architecture.width]);
  for (const branch of ['attention', 'mlp'] as const) {
    for (const site of sites[branch]) {
      const [inputs, outputs] = siteWidths(site, architecture);
      const x = hooks.linearInput(tf.zeros([rows, inputs]), site, block);
      hooks.linearOutput(tf.zeros([rows, outputs]), x, site, block);
    }
    hooks.branchOutput(hooks.dropPath(stream, branch, block), { residual: stream, normalized: stream }, branch, block);
  }
}

const sites = { attention: ['qkv', 'proj'], mlp: ['fc1', 'fc2'] } as const satisfies Record<Branch, readonly LinearSite[]>;

function siteWidths(site: LinearSite, { width, hidden }: Architecture): [number, number] {
  switch (site) {
    case 'qkv': return [width, 3 * width];
    case 'proj': return [width, width];
    case 'fc1': return [width, hidden];
    case 'fc2': return [hidden, width];
    default: return site satisfies never;
  }
}

function zeroTensors(model: ModelTensors): (name: string) => Tensor {
  const shapes = new Map([...baseParameters(model.architecture), ...trainableTensors(model)].map(({ name, shape }) => [name, shape]));
  return name => {
    const shape = shapes.get(name);
    if (!shape) throw new Error(`${model.method.title} asks for a tensor '${name}' that nobody declares`);
    return tf.zeros([...shape]);
  };
}
