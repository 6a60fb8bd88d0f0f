/** What the programs of one trial are made from: backbone shape, method, batch, and the tensors and masks that follow. */
import type { Architecture } from '../common/trial';
import type { HostTensors } from '../engine/program';
import type { MaskRequest } from '../peft/bind';
import { initialize, type InitializeOptions } from '../peft/initialize';
import { collectMasks } from '../peft/masks';
import type { Method } from '../peft/method';
import { adapterTensors, trainableTensors, type AdapterTensor } from '../peft/trainable';
import { initialMoments } from './optimizer';

export interface ModelSpec {
  architecture: Architecture;
  method: Method;
  options: Record<string, unknown>;
  classes: number;
  /** Images that a program takes at once: those of a step, or of a part of one. The last are padded. */
  batch: number;
  /** Rate at the last block. */
  dropPath: number;
  /** Whether the dropout that methods bring with them acts. */
  dropout: boolean;
}

export interface Model extends ModelSpec {
  /** What the adapter holds. */
  tensors: AdapterTensor[];
  /** What of it trains. */
  trainables: AdapterTensor[];
  /** Feeds of the training program beside the batch. */
  masks: MaskRequest[];
}

export async function prepareModel(spec: ModelSpec): Promise<Model> {
  return { ...spec, tensors: adapterTensors(spec), trainables: trainableTensors(spec), masks: await collectMasks(spec) };
}

/** State of a session that trains: the adapter's tensors, and the moments of those that train. */
export function initialState(model: Pick<Model, 'tensors' | 'trainables'>, options: InitializeOptions): HostTensors {
  return { ...initialize(model.tensors, options), ...initialMoments(model.trainables) };
}

/** Tensors without values, for a trace, which reads none. */
export function shapesOnly(tensors: readonly { name: string; shape: readonly number[] }[]): HostTensors {
  return Object.fromEntries(tensors.map(({ name, shape }) => [name, { shape, data: new Float32Array() }]));
}

/** Constants of the session: the backbone without what trains. */
export function frozenTensors(model: Pick<Model, 'tensors'>, base: HostTensors): HostTensors {
  const trained = new Set(model.tensors.map(({ name }) => name));
  return Object.fromEntries(Object.entries(base).filter(([name]) => !trained.has(name)));
}
