/** What a run says of itself in a line: pure, for the status bar and the notification. */
import { roughDuration } from '../common/format';
import type { Snapshot, SnapshotTrial } from '../common/snapshot';

export interface ProgressText {
  /** `2/5 · epoch 3/20 · 4 min left` */
  short: string;
  /** `lora rank=8, epoch 3/20 (trial 2 of 5), 4 min left` */
  long: string;
  /** Share of the whole study that is done, 0 to 1. */
  share: number;
}

export function progressText({ snapshot, preparing }: { snapshot: Snapshot | null; preparing: string | null }): ProgressText {
  if (preparing) return { short: 'preparing', long: preparing, share: 0 };
  if (!snapshot || snapshot.trials.length === 0) return { short: 'preparing', long: 'preparing data and backbone', share: 0 };
  const { finished, failed, total, secondsLeft } = snapshot.progress;
  const current = snapshot.trials.find(trial => trial.status === 'running');
  const ordinal = `${Math.min(total, finished + failed + 1)}/${total}`;
  const left = secondsLeft === null ? null : `${roughDuration(secondsLeft)} left`;
  const epoch = current && current.epoch > 0 ? `epoch ${current.epoch}/${current.epochs}` : null;
  return {
    short: [ordinal, epoch, left].filter(Boolean).join(' · '),
    long: [`${[current?.label ?? 'preparing', epoch].filter(Boolean).join(', ')} (trial ${ordinal.replace('/', ' of ')})`, left].filter(Boolean).join(', '),
    share: total === 0 ? 0 : (finished + failed + (current ? doneShare(current) : 0)) / total,
  };
}

function doneShare({ epoch, epochs }: SnapshotTrial): number {
  return epochs > 0 ? Math.min(1, epoch / epochs) : 0;
}
