/**
 * What the kernels are told: a list of numbers. An instruction is its code, its length and its words; an operand two
 * words, the number of a buffer and an offset in bytes. Codes are those of kernels/read.h, in their order.
 */
export const instructionCodes = [
  'product', 'pack', 'batchedProduct', 'attention', 'attentionGradient', 'chain', 'layerNorm', 'layerNormGradient',
  'softmax', 'reduce', 'copy', 'fill', 'addAt', 'takeAt', 'together',
] as const;
export type InstructionCode = typeof instructionCodes[number];

/** StepCode in kernels/elementwise.h. */
export const elementwiseCodes = [
  'add', 'sub', 'multiply', 'divide', 'maximum', 'minimum', 'power', 'greater', 'greaterEqual', 'less', 'lessEqual', 'equal',
  'abs', 'erf', 'exp', 'log', 'negate', 'relu', 'reciprocal', 'rsqrt', 'sigmoid', 'sqrt', 'square', 'step', 'tanh', 'select',
  'gelu', 'geluDerivative', 'copy',
] as const;
export type ElementwiseCode = typeof elementwiseCodes[number];

/** Reduction in kernels/rows.h. */
export const reductionCodes = ['Sum', 'Mean', 'Max'] as const;

/** Limits of kernels/elementwise.h and move.h. */
export const chainLimits = { axes: 4, inputs: 24, steps: 32 };
export const copyAxes = 6;

/** Where elements lie: in a buffer, so many bytes from its beginning. */
export interface Operand {
  buffer: number;
  bytes: number;
}

export const noOperand: Operand = { buffer: -1, bytes: 0 };

/** So many bytes from the beginning of a row that only the thread holds which works on it. */
export function ownRow(bytes: number): Operand {
  return { buffer: -2, bytes };
}

/** One instruction from numbers and operands. */
export function instruction(code: InstructionCode, parts: readonly (number | boolean | Operand)[]): number[] {
  const words = parts.flatMap(part => (typeof part === 'object' ? [part.buffer, part.bytes] : [Number(part)]));
  return [instructionCodes.indexOf(code), words.length + 2, ...words];
}
