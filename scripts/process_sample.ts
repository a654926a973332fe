/**
 * What the kernel says of a running process (`/proc`, Linux): memory and descriptors at one moment, and whether a
 * row of such moments is flat.
 */

/** A process at one moment. */
export interface Sample {
  seconds: number;
  /** Resident pages, those shared with other processes included. */
  rssKiB: number;
  /** The same, a page shared by n processes counted as 1/n. */
  pssKiB: number;
  /** Memory of its own that no file stands behind. */
  anonymousKiB: number;
  descriptors: number;
  threads: number;
}

/** What a row of samples comes to: means of the first and the last part, and a straight line through all. */
export interface Trend {
  first: number;
  last: number;
  highest: number;
  perHour: number;
}

/** Of a row, what counts as its beginning and as its end. */
const trendPart = 1 / 4;

/** Null if the process is gone. */
export async function sampleProcess(id: number, seconds: number): Promise<Sample | null> {
  try {
    const status = await Deno.readTextFile(`/proc/${id}/status`);
    const rollup = await Deno.readTextFile(`/proc/${id}/smaps_rollup`);
    return {
      seconds,
      rssKiB: fieldOf(status, "VmRSS"),
      pssKiB: fieldOf(rollup, "Pss"),
      anonymousKiB: fieldOf(status, "RssAnon"),
      descriptors: await countEntries(`/proc/${id}/fd`),
      threads: fieldOf(status, "Threads"),
    };
  } catch {
    return null;
  }
}

/** Descriptors that a process has open; 0 if it is gone. */
export async function countEntries(directory: string): Promise<number> {
  let count = 0;
  for await (const _entry of Deno.readDir(directory)) count++;
  return count;
}

export function trendOf(samples: readonly Sample[], what: (sample: Sample) => number): Trend {
  const values = samples.map(what);
  const part = Math.max(1, Math.floor(values.length * trendPart));
  return {
    first: meanOf(values.slice(0, part)),
    last: meanOf(values.slice(-part)),
    highest: Math.max(0, ...values),
    perHour: 3600 * slopeOf(samples.map(({ seconds }) => seconds), values),
  };
}

/** Least squares. */
function slopeOf(xs: readonly number[], ys: readonly number[]): number {
  const [meanX, meanY] = [meanOf(xs), meanOf(ys)];
  let covariance = 0;
  let variance = 0;
  xs.forEach((x, index) => {
    covariance += (x - meanX) * ((ys[index] ?? 0) - meanY);
    variance += (x - meanX) ** 2;
  });
  return variance === 0 ? 0 : covariance / variance;
}

function meanOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function fieldOf(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
}
