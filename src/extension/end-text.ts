/** How a run ended, in words: pure. */
import { counted } from '../common/format';
import type { Snapshot } from '../common/snapshot';

export interface RunEnd {
  severity: 'info' | 'warning' | 'error';
  message: string;
}

export interface EndFacts {
  snapshot: Snapshot | null;
  /** When the launcher was started, milliseconds since 1970; 0 when it was found running. */
  started: number;
  /** Its end was asked for. */
  cancelled: boolean;
  /** What the last launcher that an editor started wrote. */
  log: string;
}

export function describeEnd({ snapshot, started, cancelled, log }: EndFacts): RunEnd {
  const hasBegun = snapshot !== null && snapshot.trials.length > 0 && snapshot.updated >= started;
  if (!hasBegun && cancelled) return { severity: 'info', message: 'stopped before its first trial' };
  if (!hasBegun) return { severity: 'error', message: (errorOf(log) ?? lastLines(log)) || 'the run ended before it began' };
  const error = started > 0 ? errorOf(log) : null; // a run that was found may be a terminal's, and the log an older one's
  if (error) return { severity: 'error', message: error };
  const { finished, failed, total } = snapshot.progress;
  if (failed > 0) return { severity: 'warning', message: `${failed} of ${counted(total, 'trial')} failed: ${firstError(snapshot)}` };
  if (snapshot.trials.some(trial => trial.status === 'interrupted')) {
    return { severity: 'warning', message: `interrupted after ${finished} of ${total} trials; running it again goes on from its checkpoint` };
  }
  if (finished < total) return { severity: 'info', message: `stopped after ${finished} of ${total} trials; running it again goes on from here` };
  return { severity: 'info', message: total === 1 ? 'the trial finished' : `all ${total} trials finished` };
}

/** What a notification has room for. */
const mostCharacters = 600;

/** The error that the launcher ended with, on one line since notifications show no breaks; null where it said none. */
function errorOf(log: string): string | null {
  const said = log.split(/^peft-lab run: /m).slice(1).at(-1);
  if (said === undefined) return null;
  const lines = said.split('\n').map(line => line.trim()).filter(line => line && !line.startsWith('at ')); // no stack
  const sentences = lines.map((line, i) => i === lines.length - 1 || /[.:;,!?]$/.test(line) ? line : `${line}.`);
  return sentences.join(' ').slice(0, mostCharacters);
}

function lastLines(log: string): string {
  return log.trim().split('\n').slice(-3).join(' ').slice(-mostCharacters);
}

function firstError({ trials }: Snapshot): string {
  const failed = trials.find(trial => trial.status === 'failed');
  return `${failed?.label ?? ''}: ${failed?.error?.split('\n')[0] ?? 'see the log'}`;
}
