import { type StreamKey, streamKey } from '../../common/random';
import { type Canvas, toPixels } from './canvas';
import { type Dice, createDice } from './dice';
import { drawOrientation, orientationClasses } from './orientation';
import { type PretrainingAnswers, drawPretraining, pretrainingClasses } from './pretraining';

interface DrawnTask {
  /** Class names in the order of their labels. */
  classes: readonly string[];
  draw(label: number, size: number, dice: Dice, key: StreamKey): Canvas;
}

const drawOnly = (label: number, size: number, dice: Dice, key: StreamKey) => drawPretraining(label, size, dice, key).canvas;

/** Tasks that need no download: the one that the embedded backbone is trained on, and one to fine-tune it to. */
export const drawnTasks = {
  pretraining: { classes: pretrainingClasses, draw: drawOnly },
  orientation: { classes: orientationClasses, draw: drawOrientation },
} satisfies Record<string, DrawnTask>;

export type DrawnTaskName = keyof typeof drawnTasks;

export interface DrawnImage {
  /** [size, size, 3] */
  pixels: Uint8Array;
  label: number;
}

export interface DrawOptions {
  count: number;
  seed: number;
  /** Side in pixels; 64 when absent. */
  size?: number;
  /** Number of the first image: image i of a seed is the same whatever is drawn with it. */
  first?: number;
}

/** `count` images, classes in turn; the same for the same seed on every machine. */
export function* drawTask(name: DrawnTaskName, { count, seed, size = 64, first = 0 }: DrawOptions): Generator<DrawnImage> {
  const task: DrawnTask = drawnTasks[name];
  for (let index = first; index < first + count; index++) {
    const label = index % task.classes.length;
    const { dice, key } = streamsOf(name, seed, index);
    yield { pixels: toPixels(task.draw(label, size, dice, key)), label };
  }
}

/** The images of the task `pretraining` with all that is known of them. */
export function* drawPretrainingImages({ count, seed, size = 64, first = 0 }: DrawOptions): Generator<DrawnImage & { answers: PretrainingAnswers }> {
  for (let index = first; index < first + count; index++) {
    const label = index % pretrainingClasses.length;
    const { dice, key } = streamsOf('pretraining', seed, index);
    const { canvas, answers } = drawPretraining(label, size, dice, key);
    yield { pixels: toPixels(canvas), label, answers };
  }
}

function streamsOf(name: DrawnTaskName, seed: number, index: number): { dice: Dice; key: StreamKey } {
  return { dice: createDice(streamKey(seed, 'drawn', name, index)), key: streamKey(seed, 'drawn-ground', name, index) };
}
