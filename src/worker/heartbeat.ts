/** A sign of life every few seconds, from a thread of its own: engines block the main one for as long as a step takes. */
import { Worker } from 'node:worker_threads';

const intervalMilliseconds = 3000;

/** Runs as text, so that it is no file of its own in the package. A missed beat is no reason to stop a training. */
const beat = `
const { workerData } = require('node:worker_threads');
const fs = require('node:fs');
setInterval(() => {
  try { fs.writeFileSync(workerData.file, Date.now() + '\\n'); } catch {}
}, workerData.interval);
`;

export function startHeartbeat(file: string): { stop(): void } {
  const worker = new Worker(beat, { eval: true, workerData: { file, interval: intervalMilliseconds } });
  worker.unref();
  worker.on('error', error => process.stderr.write(`the heartbeat stopped: ${error.message}\n`));
  return { stop: () => void worker.terminate() };
}
