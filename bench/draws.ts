/**
 * What a trial leaves to chance, for bench/torch_accuracy.py to train with: `node draws.cjs TRIAL_FOLDER` writes to standard
 * output a line of JSON, then the first values of the adapter's tensors (f32, in the line's order), then for each step the
 * images (i32, `count` of them) and the masks (u8, 1 keeps; for a whole batch, also where the last is not full).
 */
import { once } from 'node:events';
import { drawMask, openOrder, stepsPerEpoch } from '../src/data/batch-order';
import { findMethod } from '../src/peft/registry';
import { openTrial } from '../src/store/trial-store';
import { initialState, prepareModel } from '../src/train/model';
import { loadBackbone } from '../src/vit/weights';
import { trainedSplits } from '../src/worker/data';

void main(process.argv[2]!);

async function main(folder: string): Promise<void> {
  const opened = openTrial(folder);
  const { backbone, method, data, recipe, recipe: { batchSize, seed, shuffle, dropLast, epochs } } = opened.trial;
  const { architecture, tensors: base } = await loadBackbone({ file: backbone.file, architecture: backbone.architecture, imageSize: backbone.architecture.imageSize });
  const model = await prepareModel({
    architecture, method: findMethod(method.id), options: method.options, classes: data.classes.length, batch: batchSize, dropPath: recipe.dropPath, dropout: recipe.dropout,
  });
  const state = initialState(model, { base, seed });
  const splits = trainedSplits(recipe);
  const images = (await opened.samples()).filter(({ split }) => splits.includes(split)).map(({ path }) => path);
  const steps = recipe.steps ?? epochs * stepsPerEpoch({ samples: images.length, batchSize, dropLast });
  await write(`${JSON.stringify({ method: method.id, seed, steps, batch: batchSize, images, tensors: model.tensors.map(({ name, shape }) => ({ name, shape })), masks: model.masks })}\n`);
  for (const { name } of model.tensors) await write(bytesOf(state[name]!.data as Float32Array));
  const samplesOf = openOrder({ samples: images.length, batchSize, dropLast, shuffle, seed });
  for (let step = 0; step < steps; step++) {
    const { indices } = samplesOf(step);
    await write(bytesOf(Int32Array.of(indices.length, ...indices)));
    for (const plan of model.masks) {
      const mask = new Uint8Array(plan.shape.reduce((a, b) => a * b, 1));
      drawMask(mask, plan, { seed, step });
      await write(mask);
    }
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

async function write(chunk: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
}
