/**
 * A head that starts from texts, as CLIP classifies without training: features are projected into the space of text
 * embeddings and brought to unit length, and the logits are exp(logit scale) times their products with the embedding of
 * each class (Radford et al., arXiv 2103.00020; fine-tuned from there: Wortsman et al., arXiv 2109.01903). Projection and
 * class vectors train, as in the unifying study.
 */
import { UserError } from '../common/errors';
import type { HostTensor, HostTensors } from '../engine/program';
import { openTensorFile, type TensorFile } from '../interop/tensor-file';

export interface TextEmbeddings {
  file: string;
  /** One row of unit length a class, in the order that was asked for: [classes, width]. */
  rows: HostTensor;
  /** The logarithm that CLIP stores; its exponential is about 100. */
  logitScale: number;
  /** In words: that the file does not name its classes. */
  warnings: string[];
}

export interface TextEmbeddingsRequest {
  file: string;
  /** In the order of the labels. */
  classes: readonly string[];
  /** Of CLIP's projection. */
  width: number;
}

/**
 * Reads `text_embeddings`, [classes, width] or [classes, templates, width] (each brought to unit length, averaged, and
 * brought to unit length again), and `logit_scale`; the metadata's `classes`, a JSON list, says whose rows they are.
 * UserErrors for what is missing or does not fit.
 */
export async function readTextEmbeddings({ file, classes, width }: TextEmbeddingsRequest): Promise<TextEmbeddings> {
  const opened = await openTensorFile(file);
  try {
    const shape = shapeOf(opened, width);
    const all = averaged(await opened.read(tensorName), shape);
    const names = namesIn(opened);
    const order = names ? orderByName(file, names, classes) : orderAsGiven(file, shape[0], classes);
    if (names && names.length !== shape[0]) throw wrong(file, `its metadata name ${names.length} classes for ${shape[0]} rows`);
    const data = new Float32Array(classes.length * width);
    order.forEach((row, i) => data.set(all.subarray(row * width, (row + 1) * width), i * width));
    return {
      file, rows: { shape: [classes.length, width], data }, logitScale: await readScale(opened),
      warnings: names ? [] : [`${file} does not name its classes: its rows are taken in the order ${classes.slice(0, 3).join(', ')}${classes.length > 3 ? ', ...' : ''}.`],
    };
  } finally {
    await opened.close();
  }
}

/** The head's tensors: projection [width, features], class vectors with the scale in them, no bias. */
export function textHead({ rows, logitScale }: Pick<TextEmbeddings, 'rows' | 'logitScale'>, projection: HostTensor): HostTensors {
  const scale = Math.exp(logitScale);
  return {
    'head.proj.weight': projection,
    'head.weight': { shape: rows.shape, data: (rows.data as Float32Array).map(value => value * scale) },
    'head.bias': { shape: [rows.shape[0]!], data: new Float32Array(rows.shape[0]!) },
  };
}

const tensorName = 'text_embeddings';

const remedy = 'Write "text_embeddings" [classes, width] and "logit_scale" with safetensors, and the class names as a JSON list in the metadata ' +
  '("classes"); docs/backbones.md of the project shows how.';

function wrong(file: string, what: string): UserError {
  return new UserError({ what, where: file, remedy });
}

function shapeOf({ path, tensors }: TensorFile, width: number): readonly [number, number, number] {
  const shape = tensors.get(tensorName)?.shape;
  if (!shape) throw wrong(path, `there is no tensor "${tensorName}" (it has ${[...tensors.keys()].slice(0, 3).join(', ') || 'none'})`);
  const [rows, templates, columns] = shape.length === 2 ? [shape[0]!, 1, shape[1]!] : shape.length === 3 ? shape as [number, number, number] : [0, 0, 0];
  if (!rows || !templates) throw wrong(path, `"${tensorName}" is [${shape.join(', ')}], not [classes, width] or [classes, templates, width]`);
  if (columns !== width) throw wrong(path, `its embeddings have ${columns} numbers, and the backbone's projection gives ${width}: they belong to different CLIP models`);
  return [rows, templates, columns];
}

/** [classes, templates, width] to rows of unit length. */
function averaged(values: Float32Array, [rows, templates, width]: readonly [number, number, number]): Float32Array {
  const out = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const sum = new Float64Array(width);
    for (let t = 0; t < templates; t++) {
      const one = values.subarray((row * templates + t) * width, (row * templates + t + 1) * width);
      const length = norm(one);
      one.forEach((value, i) => { sum[i]! += value / length; });
    }
    const length = norm(sum);
    out.set(sum.map(value => value / length), row * width);
  }
  return out;
}

function norm(values: Float32Array | Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value ** 2;
  return Math.sqrt(sum) || 1;
}

async function readScale(opened: TensorFile): Promise<number> {
  const shape = opened.tensors.get('logit_scale')?.shape;
  if (!shape || shape.some(side => side !== 1)) throw wrong(opened.path, shape ? '"logit_scale" is not one number' : 'there is no tensor "logit_scale"');
  const [scale] = await opened.read('logit_scale');
  if (Number.isFinite(scale) && scale! <= 10) return scale!;
  throw wrong(opened.path, `"logit_scale" is ${scale}; what CLIP stores is the logarithm, about 4.6`);
}

function namesIn({ path, metadata }: TensorFile): string[] | null {
  const text = metadata['classes'];
  if (text === undefined) return null;
  let names: unknown;
  try {
    names = JSON.parse(text);
  } catch {
    names = null;
  }
  if (Array.isArray(names) && names.every(name => typeof name === 'string')) return names as string[];
  throw wrong(path, 'the metadata\'s "classes" is not a JSON list of names');
}

function orderByName(file: string, names: readonly string[], classes: readonly string[]): number[] {
  const missing = classes.filter(name => !names.includes(name));
  if (missing.length) throw wrong(file, `it has no embedding for ${missing.slice(0, 3).map(name => `"${name}"`).join(', ')}${missing.length > 3 ? ` and ${missing.length - 3} more` : ''}; it has ${names.slice(0, 5).join(', ')}`);
  return classes.map(name => names.indexOf(name));
}

function orderAsGiven(file: string, rows: number, classes: readonly string[]): number[] {
  if (rows !== classes.length) throw wrong(file, `it has ${rows} rows, and the data set has ${classes.length} classes`);
  return classes.map((_, i) => i);
}
