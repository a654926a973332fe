/**
 * Why a dial failed or a port could not be had, in words for a user. The operating system and the TLS stacks
 * tell it by the names and the texts of their errors.
 */
import { formatAddress, type SocketAddress } from "./address.ts";
import { messageOf, UserError } from "./errors.ts";

/** Names of the errors that a dial may end with, and what they mean. */
const whys: Record<string, string> = {
  ConnectionRefused: "nobody listens there",
  ConnectionReset: "the connection was broken off",
  ConnectionAborted: "the connection was broken off",
  UnexpectedEof: "the connection was broken off",
  BrokenPipe: "the connection was broken off",
  TimedOut: "no answer",
  NetworkUnreachable: "no route to that network",
  HostUnreachable: "no route to that host",
  AddrNotAvailable: "no route to that address",
  PermissionDenied: "the system doesn't allow it",
};

/** A dial that ran out of time. */
export class DialTimeout extends Error {
  override readonly name = "DialTimeout";
  constructor(timeoutMs: number) {
    super(`no answer within ${timeoutMs / 1000} s`);
  }
}

/** A dial that was given up by whoever asked for it. */
export class DialAborted extends Error {
  override readonly name = "DialAborted";
  constructor() {
    super("given up");
  }
}

/** What a failed dial throws. */
export function unreachable(address: SocketAddress, error: unknown): UserError {
  const message = messageOf(error);
  const where = formatAddress(address);
  if (/certificate|unknownissuer|badsignature/i.test(message)) {
    return new UserError(
      "unreachable",
      `cannot reach ${where}: whoever answers there doesn't have the expected key`,
      "its key has changed or the join link is another's: ask for the present link",
    );
  }
  return new UserError("unreachable", `cannot reach ${where}: ${whyOf(error, message)}`);
}

/** What listening on a port that can't be had throws. */
export function cannotListen(address: SocketAddress, error: unknown): UserError {
  const name = error instanceof Error ? error.name : "";
  if (name === "AddrInUse") {
    return new UserError(
      "failed",
      `port ${address.port} is in use`,
      "choose another with --port, or stop the program that has it",
    );
  }
  if (name === "PermissionDenied") {
    return new UserError(
      "failed",
      `port ${address.port} is not allowed`,
      "choose one above 1023 with --port",
    );
  }
  const why = name === "AddrNotAvailable" ? "no such address on this machine" : messageOf(error);
  return new UserError("failed", `cannot listen on ${formatAddress(address)}: ${why}`);
}

function whyOf(error: unknown, message: string): string {
  if (/application.?protocol/i.test(message)) return "another program or version answers there";
  if (/timed out/i.test(message)) return "no answer";
  const known = error instanceof Error ? whys[error.name] : undefined;
  if (known !== undefined) return known;
  if (/unreachable/i.test(message)) return "no route to that address";
  return message.split("\n")[0] ?? "";
}
