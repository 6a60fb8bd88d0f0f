/** Whether somebody wants this process to end: SIGTERM, SIGINT, or a cancel request in the trial's folder. */
import { cancelRequested } from '../store/requests';

/** Thrown where a stop ends the work; whatever must be kept is on the disk by then. */
export class Stopped extends Error {
  override readonly name = 'Stopped';
}

export interface StopSignal {
  requested(): boolean;
  /** The promise's value, or Stopped thrown as soon as a stop is asked for; the work itself then goes on unheard. */
  race<T>(work: Promise<T>): Promise<T>;
}

const lookMilliseconds = 250;

export function listenForStop(trialFolder: string): StopSignal {
  let isRequested = false;
  let announce: () => void;
  const announced = new Promise<void>(resolve => { announce = resolve; });
  const ask = () => {
    isRequested = true;
    announce();
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, ask);
  let lookedAt = 0;
  const look = () => {
    if (isRequested || Date.now() - lookedAt < lookMilliseconds) return;
    lookedAt = Date.now();
    if (cancelRequested(trialFolder)) ask();
  };
  setInterval(look, lookMilliseconds).unref();
  return {
    requested() {
      look();
      return isRequested;
    },
    race: work => Promise.race([work, announced.then(() => { throw new Stopped('a stop was requested'); })]),
  };
}
