/** What a subcommand is. Each lies in a file of its own and is loaded when it is called. */
import type { Output } from './output';

export interface Flag {
  /** What stands for the value in the help; absent for a switch. */
  value?: string;
  help: string;
}

export interface Command {
  /** After `peft-lab `: `run STUDY`. */
  usage: string;
  summary: string;
  /** Longer text of the help. */
  details?: string;
  /** Beside --json and --help, which all have. */
  flags: Record<string, Flag>;
  /** Names of the arguments without a flag; those in [brackets] may be left out. */
  positionals: readonly string[];
  /** Returns the exit code. */
  run(call: Call): Promise<ExitCode>;
}

/** 0 done, 1 a trial failed, 2 the input is wrong, 130 cancelled. */
export type ExitCode = 0 | 1 | 2 | 130;

export interface Call {
  positionals: readonly string[];
  /** Values of flags that were given; '' for switches. */
  flags: Readonly<Record<string, string>>;
  output: Output;
}
