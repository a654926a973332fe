/**
 * What can go wrong, in three classes, each with a stable `code`: the remote side misbehaves
 * (`ProtocolError`), the user asked for something that can't be had (`UserError`), the operating system
 * refuses (its own errors, turned into a `UserError` where a user can act).
 */

/** The remote side broke the protocol. Whatever the bytes, a decoder throws nothing else. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
  constructor(readonly code: string, message: string) {
    super(message);
  }
}

/** Exit codes of the two programs. */
export const exitCode = { done: 0, failed: 1, usage: 2, notFound: 3, unreachable: 4 } as const;

export type UserErrorCode = Exclude<keyof typeof exitCode, "done">;

/** Something the user can act on: one line that says what, and one, perhaps, that says what to do. */
export class UserError extends Error {
  override readonly name = "UserError";
  readonly hint: string | undefined;
  constructor(readonly code: UserErrorCode, message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/** The message of whatever was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
