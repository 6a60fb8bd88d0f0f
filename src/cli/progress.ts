/** Progress of a run on standard error, from the store: a bar on a terminal, a line an epoch elsewhere. */
import { labelTrials } from '../analysis/labels';
import { secondsLeft } from '../analysis/progress';
import { trialTime } from '../analysis/snapshot-trial';
import { duration, percentDigits } from '../common/format';
import type { TrialEvent } from '../common/trial';
import { readStore, type StoredTrial, type StoreContents } from '../store/read';

export interface ProgressOptions {
  store: string;
  stream: { isTTY?: boolean; columns?: number; write(text: string): unknown };
  jobs: number;
}

export interface ProgressWatch {
  /** A line of its own above the bar. */
  say(text: string): void;
  /** A text in the bar's place, for what has no bar yet; '' takes it away. Nothing where there is no terminal. */
  show(text: string): void;
  /** Begins to look at the store: what finished before is not news, what ends from now on is. */
  start(): Promise<void>;
  /** Shows what came since it last looked. */
  look(): Promise<void>;
  /** Shows what came last, and takes the bar away. */
  stop(): Promise<void>;
}

export function watchProgress(options: ProgressOptions): ProgressWatch {
  const { stream } = options;
  const bar = statusLine(stream);
  const lines = epochReporter(bar.say, stream.isTTY ?? false);
  let timer: NodeJS.Timeout | undefined;
  let reading: Promise<void> | null = null;
  const read = () => reading ??= readStore(options.store).then(contents => {
    lines(contents, options.jobs);
    const text = barText(contents, { columns: stream.columns ?? 80, jobs: options.jobs });
    if (text) bar.show(text);
  }).catch(() => undefined /* looked at again in a second */).finally(() => { reading = null; });
  const look = async () => { await reading; await read(); };
  return {
    say: bar.say, show: bar.show, look,
    async start() {
      await read();
      timer = setInterval(() => void read(), stream.isTTY ? 500 : 1000);
    },
    async stop() {
      clearInterval(timer);
      if (timer) await look();
      timer = undefined;
      bar.clear();
    },
  };
}

/** The bar's text; null while no trial is at work. */
export function barText({ trials }: Pick<StoreContents, 'trials'>, { columns, jobs }: { columns: number; jobs: number }): string | null {
  const running = trials.find(t => t.status === 'running');
  if (!running) return null;
  const label = labelTrials(trials.map(t => t.trial)).get(running.trial.id)!;
  const position = `[${trials.indexOf(running) + 1}/${trials.length}]`;
  const left = secondsLeft(trials.map(trialTime), jobs);
  const { fraction, words } = activity(running.events);
  const right = [...words, left === null ? null : `${duration(left)} left`].filter(w => w !== null).join('  ');
  const room = columns - position.length - label.length - right.length - 7;
  const bar = room >= 10 ? drawBar(fraction, Math.min(room, 30)) : null;
  return [position, label, bar, right].filter(part => part).join('  ').slice(0, columns - 1);
}

/** What a trial is at: how much of it is done, 0 to 1, and in words. */
function activity(events: readonly TrialEvent[]): { fraction: number; words: (string | null)[] } {
  const last = events.findLast(e => e.type === 'step' || e.type === 'prepare' || e.type === 'phase');
  const step = events.findLast(e => e.type === 'step');
  if (last?.type === 'prepare') return { fraction: last.done / Math.max(1, last.total), words: [`${last.what} ${last.done} of ${last.total}`] };
  if (!step) return { fraction: 0, words: [last?.type === 'phase' ? last.detail ?? last.phase : 'starting'] };
  return {
    fraction: step.step / step.totalSteps,
    words: [`epoch ${Math.min(step.epoch, step.epochs)}/${step.epochs}`, `loss ${step.loss.toFixed(3)}`, `${step.imagesPerSecond.toFixed(0)} images/s`, last?.type === 'phase' && last.phase === 'evaluating' ? 'evaluating' : null],
  };
}

function drawBar(fraction: number, width: number): string {
  const filled = Math.round(Math.max(0, Math.min(1, fraction)) * width);
  return '█'.repeat(filled) + '░'.repeat(width - filled);
}

/** Says what is new since it was last called: epochs where there is no bar, warnings everywhere. */
function epochReporter(say: (text: string) => void, isTerminal: boolean): (contents: StoreContents, jobs: number) => void {
  const seen = new Map<string, number>();
  let first = true;
  return (contents, jobs) => {
    const labels = labelTrials(contents.trials.map(t => t.trial));
    for (const stored of contents.trials) {
      const fresh = stored.events.slice(seen.get(stored.trial.id) ?? 0);
      seen.set(stored.trial.id, stored.events.length);
      if (first && stored.status !== 'running') continue; // an earlier run's news
      for (const event of fresh) {
        const text = eventLine(event, isTerminal);
        if (text) say(`${labels.get(stored.trial.id)!}: ${text}${event.type === 'epoch' ? timeLeft(contents.trials, jobs) : ''}`);
      }
    }
    first = false;
  };
}

function eventLine(event: TrialEvent, isTerminal: boolean): string | null {
  if (event.type === 'warning') return `warning: ${event.message}`;
  if (isTerminal) return null;
  if (event.type === 'resumed') return `goes on from step ${event.step}`;
  if (event.type === 'phase') return event.phase === 'preparing' ? `preparing${event.detail ? ` (${event.detail})` : ''}` : null;
  if (event.type !== 'epoch') return null;
  return [
    `epoch ${event.epoch}`, `loss ${event.train.loss.toFixed(3)}`,
    event.validation && `validation ${percentDigits(event.validation.top1)} %`, event.test && `test ${percentDigits(event.test.top1)} %`,
    `${event.imagesPerSecond.toFixed(0)} images/s`,
  ].filter(Boolean).join(', ');
}

function timeLeft(trials: readonly StoredTrial[], jobs: number): string {
  const left = secondsLeft(trials.map(trialTime), jobs);
  return left ? `, ${duration(left)} left` : '';
}

/** The last line of a terminal, rewritten in place. */
function statusLine(stream: ProgressOptions['stream']) {
  let shown = '';
  const clear = () => { if (shown) stream.write('\r\u001b[2K'); shown = ''; };
  return {
    clear,
    show(text: string) {
      if (!text) return clear();
      if (!stream.isTTY || text === shown) return;
      stream.write(`\r\u001b[2K${text.slice(0, (stream.columns ?? 80) - 1)}`);
      shown = text;
    },
    say(text: string) {
      const under = shown;
      clear();
      stream.write(`${text}\n`);
      if (under) { stream.write(under); shown = under; }
    },
  };
}
