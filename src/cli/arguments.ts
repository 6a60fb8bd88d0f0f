/** Command line to flags and positionals, with words for what is wrong. */
import { parseArgs } from 'node:util';
import { UserError } from '../common/errors';
import { nearest } from '../common/nearest';
import type { Command, Flag } from './command';

/** Flags that every command has. */
export const commonFlags: Record<string, Flag> = {
  json: { help: 'print one JSON document on standard output' },
  help: { help: 'print this help' },
};

export interface ParsedArguments {
  flags: Record<string, string>;
  positionals: string[];
}

export function parseArguments(args: readonly string[], { flags: own, positionals, usage }: Pick<Command, 'flags' | 'positionals' | 'usage'>): ParsedArguments {
  const flags = { ...own, ...commonFlags };
  const { tokens } = parseArgs({
    args: [...args], strict: false, tokens: true, allowPositionals: true,
    options: Object.fromEntries(Object.entries(flags).map(([name, flag]) => [name, { type: flag.value ? 'string' as const : 'boolean' as const }])),
  });
  const parsed: ParsedArguments = { flags: {}, positionals: [] };
  for (const token of tokens) {
    if (token.kind === 'positional') parsed.positionals.push(token.value);
    if (token.kind === 'option') parsed.flags[token.name] = flagValue(token, { flags, usage });
  }
  if (!('help' in parsed.flags)) checkPositionals(parsed.positionals, { positionals, usage });
  return parsed;
}

/** A whole number above 0. */
export function wholeNumber(flag: string, text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw new UserError({ what: `"${text}" is no whole number above 0`, where: `--${flag}` });
}

/** The value of a flag. */
export function oneOf<T extends string>(flag: string, text: string, allowed: readonly T[]): T {
  return oneOfArgument(`--${flag}`, text, allowed);
}

/** An argument without a flag; `where` is its name in the usage. */
export function oneOfArgument<T extends string>(where: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find(a => a === text);
  if (found !== undefined) return found;
  const near = nearest(text, allowed);
  throw new UserError({ what: `"${text}" is not allowed${near ? `; did you mean "${near}"?` : ''}`, where, remedy: `Allowed: ${allowed.join(', ')}.` });
}

/** The value of a flag that a command cannot do without. */
export function required(flags: Readonly<Record<string, string>>, name: string, usage: string): string {
  const value = flags[name];
  if (value) return value;
  throw new UserError({ what: `--${name} is missing`, remedy: `Usage: peft-lab ${usage}` });
}

interface OptionToken { name: string; rawName: string; value: string | undefined }

function flagValue({ name, rawName, value }: OptionToken, { flags, usage }: { flags: Record<string, Flag>; usage: string }): string {
  const flag = Object.hasOwn(flags, name) ? flags[name] : undefined;
  if (!flag) {
    const near = nearest(name, Object.keys(flags));
    throw new UserError({ what: `unknown flag ${rawName}${near ? `; did you mean --${near}?` : ''}`, remedy: `Usage: peft-lab ${usage}` });
  }
  if (flag.value && !value) throw new UserError({ what: `--${name} needs a value`, remedy: `--${name} ${flag.value}: ${flag.help}.` });
  if (!flag.value && value !== undefined) throw new UserError({ what: `--${name} takes no value`, remedy: `Write --${name} alone.` });
  return value ?? '';
}

function checkPositionals(given: readonly string[], { positionals, usage }: Pick<Command, 'positionals' | 'usage'>): void {
  const missing = positionals[given.length];
  if (missing && !missing.startsWith('[')) throw new UserError({ what: `${missing} is missing`, remedy: `Usage: peft-lab ${usage}` });
  const extra = given[positionals.length];
  if (extra !== undefined) throw new UserError({ what: `"${extra}" is one argument too many`, remedy: `Usage: peft-lab ${usage}` });
}
