/**
 * A sign of life every few seconds, from a thread of its own: engines block the main one for as long as a step takes. It ends
 * when the main thread has had no turn for so long that it must hang in native code: the launcher takes silence for that.
 */
import { Worker } from 'node:worker_threads';

export interface HeartbeatOptions {
  /** Milliseconds from beat to beat. */
  interval?: number;
  /** Milliseconds without a turn of the main thread: longer than any compilation and any part of a step. */
  patience?: number;
}

export interface Heartbeat {
  /** There is no beat after it. */
  stop(): Promise<void>;
}

/**
 * Runs as text, so that it is no file of its own in the package. A missed beat is no reason to stop a training. Counts its own
 * ticks rather than time: a machine that slept did not hang.
 */
const beat = `
const { workerData: { file, turns, interval, patience } } = require('node:worker_threads');
const fs = require('node:fs');
let [seen, still] = [0, 0];
const tick = () => {
  const turn = Atomics.load(turns, 0);
  still = turn === seen ? still + interval : 0;
  seen = turn;
  if (still > patience) return;
  try { fs.writeFileSync(file, Date.now() + '\\n'); } catch {}
};
tick();
setInterval(tick, interval);
`;

export function startHeartbeat(file: string, { interval = 3000, patience = 30 * 60_000 }: HeartbeatOptions = {}): Heartbeat {
  const turns = new Int32Array(new SharedArrayBuffer(4));
  const timer = setInterval(() => Atomics.add(turns, 0, 1), interval).unref();
  const worker = new Worker(beat, { eval: true, workerData: { file, turns, interval, patience } });
  worker.unref();
  worker.on('error', error => process.stderr.write(`the heartbeat stopped: ${error.message}\n`));
  return {
    async stop() {
      clearInterval(timer);
      await worker.terminate();
    },
  };
}
