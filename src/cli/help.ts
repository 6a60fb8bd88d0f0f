import { commonFlags } from './arguments';
import type { Command } from './command';

/** What `peft-lab --help` prints. */
export function overview(commands: Record<string, { summary: string }>): string {
  return [
    'peft-lab compares parameter-efficient fine-tuning methods for Vision Transformers on your images.', '',
    'Usage: peft-lab COMMAND [arguments]', '',
    ...columns(Object.entries(commands).map(([name, { summary }]) => [name, summary])), '',
    'peft-lab COMMAND --help tells more. Exit codes: 0 done, 1 a trial failed, 2 the input is wrong, 130 cancelled.',
  ].join('\n');
}

/** What `peft-lab COMMAND --help` prints. */
export function commandHelp({ usage, summary, details, flags }: Command): string {
  const all = Object.entries({ ...flags, ...commonFlags });
  return [
    `Usage: peft-lab ${usage}`, '', `${summary}.`, ...details ? ['', details] : [], '',
    ...columns(all.map(([name, flag]) => [`--${name}${flag.value ? ` ${flag.value}` : ''}`, flag.help])),
  ].join('\n');
}

function columns(rows: (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
