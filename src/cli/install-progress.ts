/** How an installation shows how far it is: a bar on a terminal, a line every tenth elsewhere, JSON lines for programs. */
import { fileSize } from '../common/format';
import type { InstallProgress } from '../runtime/install';

export interface InstallReporter {
  report(progress: InstallProgress): void;
  /** Takes the bar away. */
  end(): void;
}

export interface InstallReporterOptions {
  stream: { isTTY?: boolean; columns?: number; write(text: string): unknown };
  /** For a program that reads along: one JSON object a line, `{"progress": {...}}`. */
  asLines: boolean;
}

const LINE_MILLISECONDS = 250;

export function installReporter({ stream, asLines }: InstallReporterOptions): InstallReporter {
  let [shown, last, lastLine] = ['', 0, ''];
  const clear = () => { if (shown) stream.write('\r\u001b[2K'); shown = ''; };
  return {
    report(progress) {
      const { phase, detail, fraction } = progress;
      const step = `${phase} ${detail}`, tenth = Math.floor(10 * fraction);
      if (asLines || stream.isTTY) {
        if (Date.now() - last < LINE_MILLISECONDS && step === lastLine) return;
        [last, lastLine] = [Date.now(), step];
        if (asLines) return void stream.write(`${JSON.stringify({ progress })}\n`);
        shown = progressLine(progress).slice(0, (stream.columns ?? 80) - 1);
        stream.write(`\r\u001b[2K${shown}`);
      } else if (lastLine !== `${step} ${tenth}`) {
        lastLine = `${step} ${tenth}`;
        stream.write(`${progressLine(progress)}\n`);
      }
    },
    end: clear,
  };
}

/** ` 42 %  downloading tensorflow-cpu, 115 MB of 274 MB, 12 MB/s` */
export function progressLine({ phase, detail, done, total, bytesPerSecond, fraction }: InstallProgress): string {
  const bytes = phase === 'downloading' ? [`${fileSize(done)} of ${fileSize(total)}`, `${fileSize(bytesPerSecond)}/s`] : [];
  return `${Math.floor(100 * fraction).toString().padStart(3)} %  ${[`${phase} ${detail}`.trim(), ...bytes].join(', ')}`;
}
