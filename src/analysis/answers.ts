import { argmax } from '../common/argmax';

/** What a trained model answered on a split: the input of everything that compares mistakes. */
export interface Answers {
  classes: number;
  /** Sample ids, [n]. */
  samples: readonly string[];
  /** True classes, [n]. */
  labels: Int32Array;
  /** Predicted classes, [n]. */
  predicted: Int32Array;
  /** Row-major softmax probabilities, [n, classes]. */
  probabilities: Float32Array;
}

export interface Logits {
  classes: number;
  samples: readonly string[];
  labels: ArrayLike<number>;
  /** Row-major, [n, classes]. */
  logits: ArrayLike<number>;
}

/** Turns logits into answers; samples without a label (-1) are left out, since nothing can be said about them. */
export function answersOf({ classes, samples, labels, logits }: Logits): Answers {
  const kept = Array.from(samples.keys()).filter(i => labels[i]! >= 0 && labels[i]! < classes);
  const probabilities = new Float32Array(kept.length * classes);
  kept.forEach((from, to) => softmaxRow(logits, from * classes, probabilities.subarray(to * classes, (to + 1) * classes)));
  return {
    classes, probabilities,
    samples: kept.map(i => samples[i]!),
    labels: Int32Array.from(kept, i => labels[i]!),
    predicted: Int32Array.from(kept, (_, i) => argmax(probabilities, i * classes, classes)),
  };
}

/** Softmax of the row of `logits` that starts at `offset`, shifted by its maximum so that no exponent overflows. */
function softmaxRow(logits: ArrayLike<number>, offset: number, out: Float32Array): void {
  const shift = logits[offset + argmax(logits, offset, out.length)]!;
  let sum = 0;
  for (let i = 0; i < out.length; i++) sum += (out[i] = Math.exp(logits[offset + i]! - shift));
  for (let i = 0; i < out.length; i++) out[i] = out[i]! / sum;
}
