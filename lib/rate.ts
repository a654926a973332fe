/**
 * Rates as users write them: bytes per second, plain or with KiB, MiB or GiB.
 */
import { displayName } from "./file_name.ts";
import { UserError } from "./errors.ts";

const unitBytes = new Map([["", 1], ["b", 1], ["kib", 2 ** 10], ["mib", 2 ** 20], [
  "gib",
  2 ** 30,
]]);

/** Bytes per second; 0 means no limit. `option` is named in the error. Throws `UserError` of code `usage`. */
export function parseRate(text: string, option: string): number {
  const parts = /^(\d+(?:\.\d+)?) ?([a-z]*)(?:\/s)?$/i.exec(text.trim());
  const amount = Number(parts?.[1] ?? Number.NaN);
  const unit = unitBytes.get((parts?.[2] ?? "").toLowerCase());
  const rate = unit === undefined ? Number.NaN : Math.round(amount * unit);
  if (Number.isSafeInteger(rate) && (rate > 0 || amount === 0)) return rate;
  throw new UserError(
    "usage",
    `${option} is not a rate: "${displayName(text)}"`,
    rateHint(parts?.[1], parts?.[2]),
  );
}

function rateHint(amount: string | undefined, unit: string | undefined): string {
  const letter = /^([kmg])b?$/i.exec(unit ?? "")?.[1];
  if (amount !== undefined && letter !== undefined) {
    return `did you mean ${amount}${letter.toUpperCase()}iB?`;
  }
  return "give bytes per second, plain or with KiB, MiB or GiB: 500000, 20MiB";
}
