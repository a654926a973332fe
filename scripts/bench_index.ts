/**
 * Hashing what is to be shared: a large file and many small ones, beside `openssl` on one core, divided by the cores
 * that there are; and a restart where nothing has changed.
 *
 * `hash only` is the first scan of a directory inside a process that runs already; `start to ready` is what a user
 * waits for.
 */
import { join } from "node:path";
import { formatBytes, formatCount } from "../lib/format.ts";
import type { Playground } from "../tests/programs.ts";
import {
  type BenchCase,
  type Contender,
  cpuOf,
  Ends,
  fill,
  limitMs,
  measureCommand,
  type Measurement,
  missingCommand,
  secondsIn,
  settled,
  type Setup,
  start,
} from "./bench_ground.ts";
import { fillFolder, smallFileBytes } from "./bench_small.ts";

const cores = navigator.hardwareConcurrency;

const perfect = `openssl dgst on ${cores} cores`;

const scanScript = join(import.meta.dirname ?? "", "first_scan.ts");

export const index: BenchCase = {
  name: "index",
  references: [perfect],
  copies: 2,
  bytes: 4 * 1024 ** 3,
  async prepare({ place, bytes }: Setup) {
    const source = await place.directory();
    await fill(join(source, "file"), bytes);
    const contenders = settled(0, [
      {
        what: perfect,
        missing: () => missingCommand("openssl"),
        measure: () => measureOpenssl(place, join(source, "file")),
      },
      ...indexers(place, source),
    ]);
    return { title: `first index of one file of ${formatBytes(bytes)}`, bytes, contenders };
  },
};

export const indexSmall: BenchCase = {
  name: "index-small",
  references: [],
  copies: 10,
  bytes: 100_000 * smallFileBytes,
  async prepare({ place, bytes }: Setup) {
    const count = Math.floor(bytes / smallFileBytes);
    const source = await place.directory();
    await fillFolder(source, count);
    const contenders = settled(0, indexers(place, source));
    return { title: `first index of ${formatCount(count, "file")} of 4 KiB`, contenders };
  },
};

export const restart: BenchCase = {
  name: "restart",
  references: [],
  copies: 10,
  bytes: 100_000 * smallFileBytes,
  async prepare({ place, bytes }: Setup) {
    const count = Math.floor(bytes / smallFileBytes);
    const source = await place.directory();
    await fillFolder(source, count);
    await measureShare(place, source);
    await place.endPrograms();
    const contenders = settled(0, [
      { what: "scan only", measure: () => measureScan(place, source) },
      { what: "start to ready", measure: () => measureShare(place, source) },
    ]);
    return { title: `restart with ${formatCount(count, "unchanged file")}`, contenders };
  },
};

function indexers(place: Playground, source: string): Contender[] {
  const afresh = async (measure: () => Promise<Measurement>) => {
    await Deno.remove(join(source, ".p2p"), { recursive: true }).catch(() => {});
    return await measure();
  };
  return [
    { what: "hash only", measure: () => afresh(() => measureScan(place, source)) },
    { what: "start to ready", measure: () => afresh(() => measureShare(place, source)) },
  ];
}

async function measureOpenssl(place: Playground, file: string): Promise<Measurement> {
  const measurement = await measureCommand(place, ["openssl", "dgst", "-sha256", file]);
  return { ...measurement, seconds: measurement.seconds / cores, sender: null };
}

async function measureScan(place: Playground, source: string): Promise<Measurement> {
  const program = start(place, [Deno.execPath(), "run", "-A", "--quiet", scanScript, source]);
  const done = await program.event((event) => "seconds" in event, "end", limitMs);
  const ends = await new Ends([program.id], []).measurement(secondsIn(done));
  return { ...ends, cpu: Number(done["cpu"]) };
}

async function measureShare(place: Playground, source: string): Promise<Measurement> {
  const { link, program: tracker } = await place.tracker();
  const startedAt = performance.now();
  const program = place.start("peer", ["--dir", source, "--tracker", link, "--json", "share"]);
  await program.event((event) => event["event"] === "ready", "ready", limitMs);
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = await cpuOf([program.id]);
  const { sender } = await new Ends([program.id], []).measurement(seconds);
  await program.stop();
  // The tracker has been told everything when it has answered the goodbye.
  const more = { "tracker CPU s": await cpuOf([tracker.id]) ?? NaN };
  return { seconds, cpu, sender, receiver: null, more };
}
