/** How a run is told to stop: Ctrl-C, a signal, a request file, or a lock lost to another launcher. */
import type { Lock } from '../common/file-lock';
import { cancelRequested } from '../store/requests';

export interface Stop {
  /** Asked once: checkpoint and end. */
  cancel: AbortSignal;
  /** Asked twice: end at once. */
  kill: AbortSignal;
  dispose(): void;
}

const CHECK_MILLISECONDS = 500;

export function listenForStop({ store, lock, say }: { store: string; lock: Lock; say(text: string): void }): Stop {
  const [cancel, kill] = [new AbortController(), new AbortController()];
  const stop = (text: string) => {
    if (cancel.signal.aborted) return;
    say(text);
    cancel.abort();
  };
  const onInterrupt = () => {
    if (!cancel.signal.aborted) return stop('Stopping at the next checkpoint; Ctrl-C again ends at once ...');
    kill.abort();
  };
  const onTerminate = () => stop('Stopping at the next checkpoint ...');
  const timer = setInterval(() => {
    if (cancelRequested(store)) stop('Cancelled; stopping at the next checkpoint ...');
    else if (!lock.held()) stop('Another launcher has taken over this study; stopping ...');
  }, CHECK_MILLISECONDS);
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onTerminate);
  process.on('SIGHUP', onTerminate);
  return {
    cancel: cancel.signal, kill: kill.signal,
    dispose() {
      clearInterval(timer);
      process.off('SIGINT', onInterrupt);
      process.off('SIGTERM', onTerminate);
      process.off('SIGHUP', onTerminate);
    },
  };
}
