import type { Node, Trace, Value } from '../graph/nodes';
import { leavesOf, sameShape, uniformValue } from '../graph/nodes';
import { chainLimits, elementwiseCodes, type ElementwiseCode } from './instructions';

/**
 * Element-wise nodes that hand results of one shape on to each other are one `Chain`, which goes through memory once.
 * Its attribute `steps` has four numbers a step: the code and what it reads, inputs first, then what steps make; `results` tells
 * which of these the outputs are; `numbers` are what inputs are that are literals (NaN for the others).
 */
export function fuseChains(trace: Trace): Trace {
  const wanted = countReaders(trace);
  const builder = new ChainBuilder(wanted);
  for (const node of trace.nodes) builder.add(node);
  return { ...trace, nodes: builder.finish() };
}

/** After so many other nodes a chain ends: what it reads would be held for too long. */
const patience = 8;

interface OpenChain {
  shape: readonly number[];
  nodes: Node[];
  made: Set<Value>;
  /** How many nodes had been put down when it last grew. */
  grown: number;
}

class ChainBuilder {
  private readonly nodes: Node[] = [];
  private open: OpenChain[] = [];

  constructor(private readonly readers: Map<Value, number>) {}

  add(node: Node): void {
    const steps = elementwise[node.kernel];
    const shape = node.outputs[0]!.shape;
    const feeding = this.open.filter(({ made }) => node.inputs.some(input => made.has(input)));
    const joined = steps ? feeding.filter(chain => sameShape(chain.shape, shape)) : [];
    for (const chain of feeding) if (!joined.includes(chain)) this.close(chain);
    if (steps) this.extend(joined, node);
    else this.put(node);
  }

  finish(): Node[] {
    for (const chain of [...this.open]) this.close(chain);
    return this.nodes;
  }

  private extend(joined: OpenChain[], node: Node): void {
    const merged: OpenChain = {
      shape: node.outputs[0]!.shape, nodes: [...joined.flatMap(({ nodes }) => nodes), node],
      made: new Set([...joined.flatMap(({ made }) => [...made]), ...node.outputs]), grown: this.nodes.length,
    };
    if (!fits(merged.nodes)) {
      for (const chain of joined) this.close(chain);
      return this.extend([], node);
    }
    this.open = [...this.open.filter(chain => !joined.includes(chain)), merged];
  }

  private put(node: Node): void {
    this.nodes.push(node);
    for (const chain of [...this.open]) if (this.nodes.length - chain.grown > patience) this.close(chain);
  }

  private close(chain: OpenChain): void {
    if (!this.open.includes(chain)) return;
    this.open = this.open.filter(other => other !== chain);
    this.nodes.push(asChain(chain, this.readers));
  }
}

function countReaders(trace: Trace): Map<Value, number> {
  const readers = new Map<Value, number>();
  for (const value of [...trace.nodes.flatMap(({ inputs }) => [...new Set(inputs)]), ...leavesOf(trace)]) readers.set(value, (readers.get(value) ?? 0) + 1);
  return readers;
}

function fits(nodes: readonly Node[]): boolean {
  const steps = nodes.reduce((sum, node) => sum + elementwise[node.kernel]!(node).length, 0);
  return steps <= chainLimits.steps && outerInputs(nodes).length + literalsOf(nodes).length <= chainLimits.inputs;
}

function literalsOf(nodes: readonly Node[]): number[] {
  const numbers = nodes.flatMap(node => elementwise[node.kernel]!(node).flatMap(({ reads }) => reads.filter(read => typeof read === 'number')));
  return [...new Set(numbers)];
}

/** What the nodes read and do not make, but for literals of one number. */
function outerInputs(nodes: readonly Node[]): Value[] {
  const made = new Set(nodes.flatMap(({ outputs }) => outputs));
  return [...new Set(nodes.flatMap(({ inputs }) => inputs))].filter(input => !made.has(input) && uniformValue(input) === null);
}

function asChain({ nodes, shape }: OpenChain, readers: Map<Value, number>): Node {
  const inputs = outerInputs(nodes);
  const numbers = literalsOf(nodes);
  const places = new Map<Value | number, number>([...inputs, ...numbers].map((source, i) => [source, i]));
  const steps: number[] = [];
  for (const node of nodes) {
    const own: number[] = [];
    for (const { code, reads } of elementwise[node.kernel]!(node)) {
      const at = reads.map(read => (typeof read === 'object' && 'step' in read ? own[read.step]! : places.get(read)!));
      own.push(inputs.length + numbers.length + steps.length / 4);
      steps.push(elementwiseCodes.indexOf(code), at[0]!, at[1] ?? at[0]!, at[2] ?? at[0]!);
    }
    node.outputs.forEach((output, i) => places.set(output, own[own.length - node.outputs.length + i]!));
  }
  const outputs = outputsOf(nodes, readers);
  return {
    kernel: 'Chain', inputs, outputs,
    attributes: { shape, steps, numbers: [...inputs.map(() => NaN), ...numbers], results: outputs.map(output => places.get(output)!) },
  };
}

/** What somebody outside the chain reads. */
function outputsOf(nodes: readonly Node[], readers: Map<Value, number>): Value[] {
  const inside = new Map<Value, number>();
  for (const { inputs } of nodes) for (const input of new Set(inputs)) inside.set(input, (inside.get(input) ?? 0) + 1);
  return nodes.flatMap(({ outputs }) => outputs).filter(output => (readers.get(output) ?? 0) > (inside.get(output) ?? 0));
}

/** A value, a number, or what an earlier step of the same node makes. */
type Read = Value | number | { step: number };
interface Step { code: ElementwiseCode; reads: Read[] }

/** The steps of each element-wise kernel; its outputs are the last ones. */
const elementwise: Record<string, (node: Node) => Step[]> = {
  ...Object.fromEntries(([
    ['Add', 'add'], ['Sub', 'sub'], ['Multiply', 'multiply'], ['RealDiv', 'divide'], ['Maximum', 'maximum'], ['Minimum', 'minimum'], ['Pow', 'power'],
    ['Greater', 'greater'], ['GreaterEqual', 'greaterEqual'], ['Less', 'less'], ['LessEqual', 'lessEqual'], ['Equal', 'equal'],
    ['Abs', 'abs'], ['Erf', 'erf'], ['Exp', 'exp'], ['Log', 'log'], ['Neg', 'negate'], ['Relu', 'relu'], ['Reciprocal', 'reciprocal'], ['Rsqrt', 'rsqrt'],
    ['Sigmoid', 'sigmoid'], ['Sqrt', 'sqrt'], ['Square', 'square'], ['Step', 'step'], ['Tanh', 'tanh'], ['Select', 'select'], ['Choose', 'select'], ['Gelu', 'gelu'],
  ] as const).map(([kernel, code]) => [kernel, (node: Node) => [{ code, reads: node.inputs.map(readOf) }]])),
  Cast: ({ inputs }) => [{ code: 'copy', reads: [readOf(inputs[0]!)] }],
  AddN: ({ inputs }) => (inputs.length === 1
    ? [{ code: 'copy', reads: [readOf(inputs[0]!)] }]
    : inputs.slice(1).map((input, i) => ({ code: 'add', reads: [i === 0 ? readOf(inputs[0]!) : { step: i - 1 }, readOf(input)] }))),
  ApplyMask: ({ inputs: [x, mask], attributes }) => [
    { code: 'multiply', reads: [readOf(mask!), attributes['scale'] as number] }, { code: 'multiply', reads: [readOf(x!), { step: 0 }] },
  ],
  GeluWithDerivative: ({ inputs: [x] }) => [{ code: 'gelu', reads: [readOf(x!)] }, { code: 'geluDerivative', reads: [readOf(x!)] }],
  GeluGradient: ({ inputs: [dy, x] }) => [{ code: 'geluDerivative', reads: [readOf(x!)] }, { code: 'multiply', reads: [readOf(dy!), { step: 0 }] }],
};

function readOf(value: Value): Read {
  return uniformValue(value) ?? value;
}
