/**
 * How aria2 is told to share and to fetch a torrent on loopback.
 */
import { freePort } from "./bench_ground.ts";

export interface Aria2Job {
  torrent: string;
  directory: string;
}

/** Shares until it is ended. */
export function aria2Seeding(job: Aria2Job): string[] {
  return [...common(job), "--seed-ratio=0.0", "--check-integrity=true", job.torrent];
}

/** Ends when it has everything. */
export function aria2Getting(job: Aria2Job): string[] {
  return [...common(job), "--seed-time=0", job.torrent];
}

/** Prints a line that ends in the path when it has everything, and shares it until it is ended. */
export function aria2Joining(job: Aria2Job): string[] {
  const telling = ["--on-bt-download-complete=/bin/echo", "--quiet"];
  return [...common(job), ...telling, "--seed-ratio=0.0", job.torrent];
}

function common({ directory }: Aria2Job): string[] {
  return ["aria2c", "--enable-dht=false", "--bt-enable-lpd=false", "--disable-ipv6=true"]
    .concat(["--enable-peer-exchange=false", "--file-allocation=none", "--summary-interval=0"])
    .concat([`--listen-port=${freePort()}`, "--dir", directory]);
}
