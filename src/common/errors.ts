/**
 * An error that its reader can act on: what happened, where, and what to do about it.
 * Everything that is not a UserError is a defect of ours and is logged with its stack.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
  readonly what: string;
  readonly where: string | undefined;
  readonly remedy: string | undefined;

  constructor({ what, where, remedy, cause }: UserErrorOptions) {
    super([where ? `${where}: ${what}` : what, remedy].filter(Boolean).join('\n  '), { cause });
    this.what = what;
    this.where = where;
    this.remedy = remedy;
  }
}

export interface UserErrorOptions {
  /** What happened, one sentence without a full stop. */
  what: string;
  /** File, line, key or tensor, as the reader knows it: `a.peft.json:4:7 (methods[0].rank)`. */
  where?: string | undefined;
  /** What to do, one sentence. */
  remedy?: string | undefined;
  cause?: unknown;
}

/** Whether the system gave one of these codes as the reason. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

/** The message to show for anything thrown: a UserError's own words, a stack for the rest. */
export function describeError(error: unknown): string {
  if (error instanceof UserError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
