/** Predictions as files for others: safetensors with logits and labels, or CSV with class and probability. */
import fs from 'node:fs';
import path from 'node:path';
import { argmax } from '../common/argmax';
import type { Sample } from '../common/trial';
import { writeAtomic, writeError } from '../store/files';
import { csvCell } from './result-files';

export interface PredictionFile {
  /** [samples, classes], row-major. */
  logits: Float32Array;
  samples: readonly Sample[];
  classes: readonly string[];
  engine: string;
}

export async function writePredictionFile(file: string, content: PredictionFile): Promise<void> {
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    if (/\.csv$/i.test(file)) writeAtomic(file, predictionCsv(content));
    else await writeTensors(file, content);
  } catch (error) {
    throw writeError(file, error);
  }
}

/** Columns path, class, probability; and label where the samples have labels. */
export function predictionCsv({ logits, samples, classes }: Omit<PredictionFile, 'engine'>): string {
  const hasLabels = samples.some(s => s.label >= 0);
  const rows = samples.map((sample, i) => {
    const { index, probability } = surest(logits.subarray(i * classes.length, (i + 1) * classes.length));
    return [sample.path, classes[index]!, probability.toFixed(6), ...hasLabels ? [classes[sample.label] ?? ''] : []];
  });
  const heading = ['path', 'class', 'probability', ...hasLabels ? ['label'] : []];
  return `${[heading, ...rows].map(cells => cells.map(csvCell).join(',')).join('\n')}\n`;
}

async function writeTensors(file: string, { logits, samples, classes }: PredictionFile): Promise<void> {
  const { writeSafetensors } = await import('../interop/safetensors');
  await writeSafetensors(file, {
    logits: { shape: [samples.length, classes.length], data: logits },
    labels: { shape: [samples.length], data: Int32Array.from(samples, s => s.label), dtype: 'I32' },
  }, { classes: JSON.stringify(classes) });
}

/** The class with the highest logit, and its softmax probability. */
function surest(logits: Float32Array): { index: number; probability: number } {
  const index = argmax(logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - logits[index]!), 0);
  return { index, probability: 1 / sum };
}
