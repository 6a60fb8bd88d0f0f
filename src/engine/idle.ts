import os from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

/** Whether threads that wait may keep their processors busy: nobody else wants these. One thread waits for none. */
export async function mayThreadsSpin(threads: number): Promise<boolean> {
  return threads > 1 && machineIsIdle();
}

/** Whether the processors of this machine have next to nothing to do; looks for 0.2 s. */
async function machineIsIdle(): Promise<boolean> {
  const before = processorTimes();
  await delay(200);
  const after = processorTimes();
  const total = after.total - before.total;
  return total > 0 && (after.idle - before.idle) / total > 0.85;
}

/** Milliseconds of all processors since they started. */
function processorTimes(): { idle: number; total: number } {
  const times = os.cpus().map(cpu => cpu.times);
  return {
    idle: times.reduce((sum, t) => sum + t.idle, 0),
    total: times.reduce((sum, t) => sum + t.idle + t.user + t.sys + t.nice + t.irq, 0),
  };
}
