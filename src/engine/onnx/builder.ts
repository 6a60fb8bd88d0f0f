import type { OnnxAttribute, OnnxInitializer, OnnxNode, OnnxType } from './model';
import { dataTypes } from './model';

/** Collects nodes and initialisers under fresh names; equal constants are stored once. */
export class GraphBuilder {
  readonly nodes: OnnxNode[] = [];
  readonly initializers = new Map<string, OnnxInitializer>();
  private count = 0;

  /** One standard operator with one output; returns the output's name. */
  op(operator: string, inputs: readonly string[], attributes: Record<string, OnnxAttribute> = {}): string {
    const output = this.fresh();
    this.nodes.push({ operator, inputs, outputs: [output], attributes });
    return output;
  }

  /** One of ONNX Runtime's own operators. */
  contrib(operator: string, inputs: readonly string[], attributes: Record<string, OnnxAttribute> = {}): string {
    const output = this.fresh();
    this.nodes.push({ operator, domain: 'com.microsoft', inputs, outputs: [output], attributes });
    return output;
  }

  /** A standard operator with several outputs. */
  split(operator: string, inputs: readonly string[], count: number, attributes: Record<string, OnnxAttribute> = {}): string[] {
    const outputs = Array.from({ length: count }, () => this.fresh());
    this.nodes.push({ operator, inputs, outputs, attributes });
    return outputs;
  }

  scalar(value: number): string {
    return this.constant(`scalar ${value}`, { shape: [], type: 'float32', data: Float32Array.of(value) });
  }

  /** One value throughout. */
  filled(value: number, shape: readonly number[]): string {
    const size = shape.reduce((a, b) => a * b, 1);
    return this.constant(`filled ${value} ${shape.join('x')}`, { shape, type: 'float32', data: new Float32Array(size).fill(value) });
  }

  int64s(values: readonly number[]): string {
    return this.constant(`int64 ${values.join(' ')}`, { shape: [values.length], type: 'int64', data: BigInt64Array.from(values.map(BigInt)) });
  }

  /** Of a constant, ONNX Runtime does it once. */
  cast(x: string, type: OnnxType): string {
    return this.op('Cast', [x], { to: dataTypes[type] });
  }

  reshape(x: string, shape: readonly number[]): string {
    return this.op('Reshape', [x, this.int64s(shape)]);
  }

  constant(name: string, tensor: Omit<OnnxInitializer, 'name'>): string {
    if (!this.initializers.has(name)) this.initializers.set(name, { name, ...tensor });
    return name;
  }

  private fresh(): string {
    return `v${this.count++}`;
  }
}
