/** Where words go: results to standard output, one JSON document there with --json; everything else to standard error. */
export interface Output {
  json: boolean;
  /** A result for a human; nothing with --json. */
  print(text: string): void;
  /** The result for a machine; nothing without --json. Once a call. */
  document(value: unknown): void;
  /** Progress and remarks. */
  say(text: string): void;
}

export function standardOutput({ json }: { json: boolean }): Output {
  let written = false;
  return {
    json,
    print: text => { if (!json) process.stdout.write(`${text}\n`); },
    document(value) {
      if (!json) return;
      if (written) throw new Error('a second JSON document');
      written = true;
      process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
    },
    say: text => { process.stderr.write(`${text}\n`); },
  };
}

/** Resolves when everything written has left the process; on Windows pipes are slow. */
export async function flush(): Promise<void> {
  await Promise.all([process.stdout, process.stderr].map(stream => new Promise<void>(resolve => {
    if (stream.writableNeedDrain || stream.writableLength) stream.write('', () => resolve());
    else resolve();
  })));
}
