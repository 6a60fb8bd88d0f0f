import fs from 'node:fs/promises';
import path from 'node:path';
import { replaceFile } from '../../common/replace-file';
import { type WriteTaskOptions, writeTask } from './write-task';

/** The data sets of media/demo/demo.peft.json, which looks for them in data/<task> beside it. */
const dataSets: readonly WriteTaskOptions[] = [
  { task: 'orientation', counts: { train: 1000, val: 200, test: 400 }, seed: 1 },
];

/** Draws what the demo study needs into folder/data; does nothing for what is there already. */
export async function writeDemoData(folder: string): Promise<void> {
  for (const dataSet of dataSets) {
    const target = path.join(folder, 'data', dataSet.task);
    if (await exists(target)) continue;
    // Under another name until it is whole: an interrupted drawing is not taken for the data set.
    const unfinished = `${target}.unfinished`;
    await fs.rm(unfinished, { recursive: true, force: true });
    await writeTask(unfinished, dataSet);
    await replaceFile(unfinished, target);
  }
}

async function exists(file: string): Promise<boolean> {
  return fs.access(file).then(() => true, () => false);
}
