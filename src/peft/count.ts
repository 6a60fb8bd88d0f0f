/** Parameter counts, from declarations alone. */
import type { ParameterCount } from '../common/trial';
import { baseParameters } from '../vit/architecture';
import { trainableTensors, type ModelTensors } from './trainable';

export function countParameters(model: ModelTensors): ParameterCount {
  const tensors = trainableTensors(model);
  const sizeOf = (source: typeof tensors[number]['source']) => sum(tensors.filter(t => t.source === source));
  const backbone = sum(baseParameters(model.architecture));
  const [trainedBase, added, head] = [sizeOf('base'), sizeOf('added'), sizeOf('head')];
  return { trainable: trainedBase + added, head, total: backbone + added + head, backbone };
}

function sum(tensors: readonly { shape: readonly number[] }[]): number {
  return tensors.reduce((total, { shape }) => total + shape.reduce((a, b) => a * b, 1), 0);
}
