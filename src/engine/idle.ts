import os from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

/** Whether threads that wait may keep their processors busy: nobody else wants these. One thread waits for none. Looks for 0.2 s, while the caller may work. */
export async function mayThreadsSpin(threads: number): Promise<boolean> {
  return threads > 1 && nobodyElseWorks();
}

/** Whether other processes leave the processors of this machine next to idle. */
async function nobodyElseWorks(): Promise<boolean> {
  const before = processorTimes();
  await delay(200);
  const after = processorTimes();
  const total = after.total - before.total;
  return total > 0 && (after.byOthers - before.byOthers) / total < 0.15;
}

/** Milliseconds of all processors since they started. */
function processorTimes(): { byOthers: number; total: number } {
  const times = os.cpus().map(cpu => cpu.times), own = process.cpuUsage();
  const busy = times.reduce((sum, t) => sum + t.user + t.sys + t.nice + t.irq, 0);
  return { byOthers: busy - (own.user + own.system) / 1000, total: busy + times.reduce((sum, t) => sum + t.idle, 0) };
}
