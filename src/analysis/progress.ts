/** One trial as far as time is concerned. */
export interface TrialTime {
  state: 'waiting' | 'running' | 'over';
  /** How much of it is done, 0 to 1. */
  fraction: number;
  /** Seconds spent on it so far. */
  seconds: number;
}

/**
 * Seconds until the last trial ends, `jobs` at a time: what runs goes on at its own pace, what waits takes as long as the
 * others did or promise to. Null while nothing has run long enough to tell.
 */
export function secondsLeft(trials: readonly TrialTime[], jobs = 1): number | null {
  const running = trials.filter(t => t.state === 'running');
  const waiting = trials.filter(t => t.state === 'waiting').length;
  if (!running.length && !waiting) return 0;
  const durations = trials.map(expectedDuration).filter(d => d !== null);
  if (!durations.length) return null;
  const mean = durations.reduce((sum, d) => sum + d, 0) / durations.length;
  const remaining = running.map(t => Math.max(0, (expectedDuration(t) ?? mean) - t.seconds));
  return Math.round((remaining.reduce((sum, s) => sum + s, 0) + waiting * mean) / Math.max(1, jobs));
}

/** A trial that ended before its end (failed, cancelled) says little; so does one that has hardly begun. */
function expectedDuration({ state, fraction, seconds }: TrialTime): number | null {
  if (state === 'waiting' || seconds <= 0) return null;
  if (state === 'over') return fraction >= 1 ? seconds : null;
  return fraction >= 0.01 ? seconds / Math.min(1, fraction) : null;
}
