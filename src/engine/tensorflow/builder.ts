import type { TfAttribute, TfConstant, TfNode, TfType } from './model';

export interface ProductOptions {
  transposeA?: boolean;
  transposeB?: boolean;
  /** [rows, columns] each, without batch dimensions in front. */
  isPlain: boolean;
}

/** Collects the nodes of one function under fresh names; equal constants are stored once, and variables are read once. */
export class FunctionBuilder {
  readonly nodes: TfNode[] = [];
  private readonly made = new Map<string, string>();

  /** The format of the operands of matrix products. */
  constructor(private readonly productType: 'float32' | 'bfloat16') {}

  /** One operation with one output, of float32 unless the attributes say otherwise; returns the output's name. */
  op(operator: string, inputs: readonly string[], attributes: Record<string, TfAttribute> = {}): string {
    return this.split(operator, inputs, 1, attributes)[0]!;
  }

  /** An operation with several outputs of one name. */
  split(operator: string, inputs: readonly string[], count: number, attributes: Record<string, TfAttribute> = {}): string[] {
    const name = `n${this.nodes.length}`;
    this.nodes.push({ name, operator, inputs, attributes: { T: { type: 'float32' }, ...attributes } });
    return Array.from({ length: count }, (_, i) => `${name}:${outputNames[operator] ?? 'output'}:${i}`);
  }

  /** An operation whose attributes do not include the type of its operands. */
  bare(operator: string, inputs: readonly string[], attributes: Record<string, TfAttribute>): string {
    const name = `n${this.nodes.length}`;
    this.nodes.push({ name, operator, inputs, attributes });
    return `${name}:${outputNames[operator] ?? 'output'}:0`;
  }

  scalar(value: number): string {
    return this.constant({ type: 'float32', shape: [], data: Float32Array.of(value) }, `scalar ${value}`);
  }

  int32s(values: readonly number[]): string {
    return this.constant({ type: 'int32', shape: [values.length], data: Int32Array.from(values) }, `int32s ${values.join(' ')}`);
  }

  int32(value: number): string {
    return this.constant({ type: 'int32', shape: [], data: Int32Array.of(value) }, `int32 ${value}`);
  }

  /** A whole tensor of one value, which takes no room in the model. */
  filled(value: number, shape: readonly number[]): string {
    return this.once(`filled ${value} ${shape.join('x')}`, () =>
      this.op('Fill', [this.int32s(shape), this.scalar(value)], { index_type: { type: 'int32' } }));
  }

  reshape(x: string, shape: readonly number[], type: TfType = 'float32'): string {
    return this.op('Reshape', [x, this.int32s(shape)], { T: { type }, Tshape: { type: 'int32' } });
  }

  transpose(x: string, order: readonly number[], type: TfType = 'float32'): string {
    return this.op('Transpose', [x, this.int32s(order)], { T: { type }, Tperm: { type: 'int32' } });
  }

  cast(x: string, from: TfType, to: TfType): string {
    return this.once(`cast ${x} ${to}`, () => this.bare('Cast', [x], { SrcT: { type: from }, DstT: { type: to }, Truncate: { bool: false } }));
  }

  /** A matrix product in the format of products; its operands and its result are float32. */
  product(a: string, b: string, { transposeA = false, transposeB = false, isPlain }: ProductOptions): string {
    const type = this.productType;
    const [left, right] = type === 'float32' ? [a, b] : [this.cast(a, 'float32', type), this.cast(b, 'float32', type)];
    const product = isPlain
      ? this.op('MatMul', [left, right], { T: { type }, transpose_a: { bool: transposeA }, transpose_b: { bool: transposeB } })
      : this.op('BatchMatMulV2', [left, right], { T: { type }, adj_x: { bool: transposeA }, adj_y: { bool: transposeB } });
    return type === 'float32' ? product : this.cast(product, type, 'float32');
  }

  /** The value that a variable has when the function begins; `handle` is an argument. */
  readVariable(handle: string): string {
    return this.once(`read ${handle}`, () => this.bare('ReadVariableOp', [handle], { dtype: { type: 'float32' } }));
  }

  /** Gives a variable a new value, after its old one was read if it is read at all; returns the node's name. */
  assignVariable(handle: string, value: string): string {
    const read = this.made.get(`read ${handle}`);
    this.bare('AssignVariableOp', [handle, value, ...read ? [`^${nodeOf(read)}`] : []], { dtype: { type: 'float32' } });
    return this.nodes.at(-1)!.name;
  }

  /** A value that the function returns; it comes after the nodes named, which nothing else would keep. */
  result(value: string, type: TfType, after: readonly string[]): string {
    return this.op('Identity', [value, ...after.map(name => `^${name}`)], { T: { type } });
  }

  constant(tensor: TfConstant, key: string): string {
    return this.once(key, () => this.bare('Const', [], { dtype: { type: tensor.type }, value: { tensor } }));
  }

  private once(key: string, make: () => string): string {
    if (!this.made.has(key)) this.made.set(key, make());
    return this.made.get(key)!;
  }
}

function nodeOf(output: string): string {
  return output.split(':')[0]!;
}

/** What operations call their first output where it is not `output`: functions refer to outputs by name. */
const outputNames: Record<string, string> = {
  Relu: 'activations', Softmax: 'softmax', LogSoftmax: 'logsoftmax', MatMul: 'product', ReadVariableOp: 'value',
  ...Object.fromEntries([
    'AddV2', 'Sub', 'Mul', 'RealDiv', 'Maximum', 'Minimum', 'Pow', 'Greater', 'GreaterEqual', 'Less', 'LessEqual', 'Equal',
  ].map(operator => [operator, 'z'])),
  ...Object.fromEntries([
    'Abs', 'Cast', 'Erf', 'Exp', 'Log', 'Neg', 'Reciprocal', 'Rsqrt', 'Sigmoid', 'Sqrt', 'Square', 'Tanh', 'Transpose',
  ].map(operator => [operator, 'y'])),
};
