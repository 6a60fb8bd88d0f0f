import type { Node, Trace, Value } from '../graph/nodes';
import { freshValue } from '../graph/nodes';

/**
 * GELU computes its derivative together with its value, from one exponential, and keeps it in place of its input: the
 * gradient is a product then. Where the input was computed again, the derivative is too.
 */
export function saveDerivatives(trace: Trace): Trace {
  const derivatives = new Map<Value, Value>();
  const activated = new Set(trace.nodes.filter(({ kernel }) => kernel === 'Gelu').map(({ inputs }) => inputs[0]!));
  for (const { kernel, inputs } of trace.nodes) {
    const x = inputs[1];
    if (kernel === 'GeluGradient' && activated.has(x!)) derivatives.set(x!, freshValue(x!.shape, x!.dtype));
  }
  const made = new Set<Value>();
  return { ...trace, nodes: trace.nodes.map(node => withDerivative(node, derivatives, made)) };
}

function withDerivative(node: Node, derivatives: Map<Value, Value>, made: Set<Value>): Node {
  const [first, second] = node.inputs;
  if (node.kernel === 'Gelu' && derivatives.has(first!) && !made.has(first!)) {
    made.add(first!);
    return { ...node, kernel: 'GeluWithDerivative', outputs: [node.outputs[0]!, derivatives.get(first!)!] };
  }
  if (node.kernel === 'GeluGradient' && made.has(second!)) return { ...node, kernel: 'Multiply', inputs: [first!, derivatives.get(second!)!] };
  return node;
}
