/** The dialect for models that leave PEFT Lab: operators of the standard alone, which every runtime and converter reads. */
import { inOrder, operatorsWith, type GroupedProduct } from './operators';
import type { Dialect } from './write';

const plainProduct: GroupedProduct = (graph, [a, b], { alpha = 1 }) => {
  const product = graph.op('MatMul', [inOrder(graph, a), inOrder(graph, b)]);
  return alpha === 1 ? product : graph.op('Mul', [product, graph.scalar(alpha)]);
};

export const portableDialect: Dialect = {
  masks: 'bool',
  operators: {
    ...operatorsWith(plainProduct),
    /** x * (1 + erf(x / sqrt 2)) / 2; the standard has Gelu from operator set 20 on. */
    Gelu: (graph, [x]) => {
      const twice = graph.op('Add', [graph.op('Erf', [graph.op('Mul', [x!, graph.scalar(Math.SQRT1_2)])]), graph.scalar(1)]);
      return [graph.op('Mul', [graph.op('Mul', [x!, graph.scalar(0.5)]), twice])];
    },
  },
};
