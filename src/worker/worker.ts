/**
 * The worker process: `node dist/worker.cjs <trial folder>` runs one trial and writes everything about it there.
 * Exit codes: 0 finished, 1 failed, 2 wrong usage, 130 cancelled. What went wrong stands in the attempt's exit.json.
 */
import os from 'node:os';
import { runTrial } from './run-trial';

void main(process.argv.slice(2));

async function main([folder]: string[]): Promise<void> {
  if (folder === undefined) {
    process.stderr.write('usage: worker <trial folder>\n');
    process.exit(2);
  }
  lowerPriority();
  // The image loader's threads may still be alive: nothing is left to wait for.
  process.exit(await runTrial(folder));
}

/** Before any thread is started: on Linux the priority is each thread's own, and inherited. */
function lowerPriority(): void {
  try {
    os.setPriority(os.constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // Some systems forbid it; the trial runs all the same.
  }
}
