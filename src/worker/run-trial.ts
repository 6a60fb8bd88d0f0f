/** One attempt at a trial, from trial.json to result.json. */
import fs from 'node:fs';
import path from 'node:path';
import { describeError, UserError } from '../common/errors';
import type { AttemptExit, TrialEvent } from '../common/trial';
import { attemptPaths, trialPaths } from '../store/paths';
import { nextAttempt, openTrial, type AttemptWriter, type OpenTrial } from '../store/trial-store';
import { chooseTrialEngine, type TrialEngine } from './engine';
import { causeOf, EngineFailure } from './engine-failure';
import { explainFailure } from './failure';
import { startHeartbeat, type Heartbeat } from './heartbeat';
import { listenForStop, Stopped, type StopSignal } from './stop';
import { trainAndRecord } from './train-and-record';
import { versions } from './versions';

export const exitCodes = { done: 0, failed: 1, cancelled: 130 } as const satisfies Record<AttemptExit['outcome'], number>;

/** Never throws: the outcome is in exit.json, or on standard error when even that cannot be written. */
export async function runTrial(folder: string): Promise<number> {
  const stop = listenForStop(folder);
  let attempt: AttemptWriter | undefined;
  let heart: Heartbeat | undefined;
  try {
    const opened = openTrial(folder);
    if (fs.existsSync(trialPaths(opened.folder).result)) return exitCodes.done;
    removeLeftovers(opened.folder);
    heart = startHeartbeat(nextHeartbeat(opened.folder));
    const engine = await chooseOrRecord(opened, stop);
    attempt = openAttempt(opened, engine);
    return record(attempt, await runAttempt({ opened, attempt, engine, stop }));
  } catch (error) {
    const explained = explainFailure(causeOf(error), folder);
    process.stderr.write(`${describeError(explained)}\n`);
    const outcome = error instanceof Stopped ? 'cancelled' : 'failed';
    if (attempt) recordIfPossible(attempt, { outcome, error: describeError(explained), errorIsUserError: explained instanceof UserError, ...error instanceof EngineFailure && { engineFailed: error.engine } });
    return exitCodes[outcome];
  } finally {
    await heart?.stop();
  }
}

/** Of the attempt that begins: the launcher waits for a sign of life while engines are tried. */
function nextHeartbeat(trialFolder: string): string {
  const { attempts, attempt } = trialPaths(trialFolder);
  return attemptPaths(attempt(nextAttempt(attempts))).heartbeat;
}

interface BegunAttempt { opened: OpenTrial; attempt: AttemptWriter; engine: TrialEngine; stop: StopSignal }

async function runAttempt({ opened, attempt, engine, stop }: BegunAttempt): Promise<AttemptExit['outcome']> {
  try {
    await trainAndRecord({ opened, engine, stop, onEvent: throttleEvents(event => attempt.event(event)) });
    return 'done';
  } catch (error) {
    if (error instanceof Stopped) return 'cancelled';
    throw error;
  }
}

/** A failure to find an engine is an attempt's failure too: it must be readable where the others are. */
async function chooseOrRecord(opened: OpenTrial, stop: StopSignal): Promise<TrialEngine> {
  try {
    return await stop.race(chooseTrialEngine(opened));
  } catch (error) {
    const attempt = opened.openAttempt({ engine: opened.trial.engine, threads: 0, versions, resumedFromStep: 0 });
    const explained = explainFailure(error, opened.folder);
    const outcome = error instanceof Stopped ? 'cancelled' : 'failed';
    recordIfPossible(attempt, { outcome, error: describeError(explained), errorIsUserError: explained instanceof UserError });
    throw error;
  }
}

function openAttempt(opened: OpenTrial, { engine, threads, resumedFromStep, choice }: TrialEngine): AttemptWriter {
  return opened.openAttempt({ engine: engine.id, threads, versions, resumedFromStep, ...choice && { choice } });
}

function record(attempt: AttemptWriter, outcome: AttemptExit['outcome']): number {
  attempt.exit({ finished: Date.now(), outcome });
  return exitCodes[outcome];
}

function recordIfPossible(attempt: AttemptWriter, exit: Omit<AttemptExit, 'finished'>): void {
  try {
    attempt.exit({ finished: Date.now(), ...(exit.outcome === 'cancelled' ? { outcome: exit.outcome } : exit) });
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`); // the log may lie on a disk that is not full
  }
}

/** What an attempt that was killed while it wrote left behind; a checkpoint may be large. */
function removeLeftovers(folder: string): void {
  const { checkpoint, adapter, predictionsFolder } = trialPaths(folder);
  const isLeftover = (name: string) => name.endsWith('.tmp') && !name.startsWith('trial.json'); // that one is the launcher's
  for (const place of [path.dirname(checkpoint), adapter, predictionsFolder]) {
    if (!fs.existsSync(place)) continue;
    for (const name of fs.readdirSync(place).filter(isLeftover)) fs.rmSync(path.join(place, name), { force: true });
  }
}

/** At most five steps a second of a long training, and ten progress reports: curves need no more. */
function throttleEvents(write: (event: TrialEvent) => void): (event: TrialEvent) => void {
  let last = 0;
  return event => {
    const isFrequent = event.type === 'step' ? event.totalSteps > 1000 && event.step < event.totalSteps : event.type === 'prepare' && event.done < event.total;
    const interval = event.type === 'step' ? 200 : 100;
    if (isFrequent && event.time - last < interval) return;
    if (event.type === 'step' || event.type === 'prepare') last = event.time;
    write(event);
  };
}
