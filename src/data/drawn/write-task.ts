import fs from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { type DrawnTaskName, drawTask, drawnTasks } from './draw-task';

export interface WriteTaskOptions {
  task: DrawnTaskName;
  /** Images in each split. */
  counts: { train: number; val: number; test: number };
  seed: number;
  /** Side in pixels; 64 when absent. */
  size?: number;
}

/** Draws a task as folder/<split>/<class>/<number>.png. Folders are numbered so that they sort in the order of labels. */
export async function writeTask(folder: string, { task, counts, seed, size = 64 }: WriteTaskOptions): Promise<void> {
  const { classes } = drawnTasks[task];
  const digits = String(classes.length).length;
  const folders = classes.map((name, label) => `${String(label + 1).padStart(digits, '0')}-${name}`);
  let first = 0; // splits go on from each other: no image is in two
  for (const [split, count] of Object.entries(counts)) {
    await Promise.all(folders.map(name => fs.mkdir(path.join(folder, split, name), { recursive: true })));
    let number = 0;
    for (const { pixels, label } of drawTask(task, { count, seed, size, first })) {
      const file = path.join(folder, split, folders[label]!, `${String(number++).padStart(5, '0')}.png`);
      await sharp(pixels, { raw: { width: size, height: size, channels: 3 } }).png().toFile(file);
    }
    first += count;
  }
}
