import { hasCode } from './errors';

/** Whether a process of this machine runs. One that may not be asked does. */
export function processIsAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, 'EPERM');
  }
}
