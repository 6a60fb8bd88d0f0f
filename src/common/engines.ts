/** The ids of everything that can compute, and the number formats that products may be computed in. */

/** By kind of hardware, fastest first as a rule; `auto` measures instead of believing this order. */
export const engineIds = ['graph-cuda', 'tensorflow', 'graph-webgpu', 'native', 'graph', 'wasm', 'cpu'] as const;
export type EngineId = typeof engineIds[number];

/** What a study or a command may ask for. */
export const engineChoices = ['auto', ...engineIds] as const;
export type EngineChoice = typeof engineChoices[number];

/**
 * How matrix products are computed; everything else, parameters and moments included, is f32 always.
 * - f32: IEEE single precision throughout.
 * - tf32: operands rounded to 10 bits of mantissa by the tensor cores, sums in f32 (NVIDIA, Ampere and later).
 * - bf16: operands and results rounded to 8 bits of precision, the range of f32.
 * - f16: operands and results rounded to 11 bits of precision, largest value 65504; the loss is scaled.
 */
export const precisions = ['f32', 'tf32', 'bf16', 'f16'] as const;
export type Precision = typeof precisions[number];
