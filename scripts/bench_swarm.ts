/**
 * One file from one seeder to four downloaders at once, until all have it. They are told of each other, and of the
 * seeder, by whatever each program has for it; where it needs a tracker the time to ask it counts.
 *
 * `copies sent` is what the seeder sent, in copies of the file: 4 without a swarm, 1 at the least.
 */
import { join } from "node:path";
import { formatBytes } from "../lib/format.ts";
import type { Program } from "../tests/programs.ts";
import { aria2Joining, aria2Seeding } from "./bench_aria2.ts";
import {
  type Bench,
  type BenchCase,
  type Contender,
  Ends,
  fill,
  limitMs,
  type Measurement,
  missingCommand,
  requireSame,
  settled,
  type Setup,
  start,
} from "./bench_ground.ts";
import { missingLibtorrent, startLibtorrent } from "./bench_libtorrent.ts";
import { startQbt } from "./bench_qbittorrent.ts";
import { openTorrentTracker, writeTorrent } from "./bench_torrent.ts";

const defaultBytes = 256 * 1024 ** 2;

const downloaderCount = 4;

export const swarm: BenchCase = {
  name: "swarm",
  references: ["libtorrent", "qBittorrent", "aria2"],
  copies: downloaderCount + 2,
  bytes: defaultBytes,
  async prepare({ place, bytes }: Setup) {
    const source = await place.directory();
    const file = join(source, "file");
    await fill(file, bytes);
    const contenders = settled(bytes, contendersOf({ place, source, file, bytes }));
    const title = `${formatBytes(bytes)}, one seeder, ${downloaderCount} downloaders at once`;
    return { title, bytes, contenders };
  },
};

function contendersOf(bench: Bench): Contender[] {
  return [
    { what: "peer", measure: () => measurePeers(bench) },
    { what: "libtorrent", missing: missingLibtorrent, measure: () => measureLibtorrent(bench) },
    {
      what: "qBittorrent",
      missing: () => missingCommand("qbittorrent-nox"),
      measure: () => measureQbt(bench),
    },
    { what: "aria2", missing: () => missingCommand("aria2c"), measure: () => measureAria2(bench) },
  ];
}

async function measurePeers(bench: Bench): Promise<Measurement> {
  const { place, source } = bench;
  const { link } = await place.tracker();
  const join = (directory: string) =>
    place.start("peer", ["--dir", directory, "--tracker", link, "--json"]);
  const seeder = join(source);
  await ready(seeder);
  const [row] = await place.listing(link, (rows) => rows.length === 1);
  const targets = await directories(bench);
  const downloaders = targets.map(join);
  await Promise.all(downloaders.map(ready));
  const ends = await new Ends([seeder.id], downloaders.map(({ id }) => id)).ready();
  const startedAt = performance.now();
  await Promise.all(downloaders.map(async (downloader) => {
    await downloader.type(`get ${row?.["digest"]}`);
    await downloader.event((event) => event["event"] === "complete", "end", limitMs);
  }));
  const measurement = await ends.measurement((performance.now() - startedAt) / 1000);
  const sent = await chunksSentBy(seeder) / Number(row?.["chunks"]);
  return await finished(bench, targets, withCopies(measurement, sent));
}

async function ready(program: Program): Promise<void> {
  await program.event((event) => event["event"] === "ready", "start");
}

async function chunksSentBy(seeder: Program): Promise<number> {
  await seeder.type("status");
  const status = await seeder.event((event) => "uploads" in event, "status");
  const uploads = status["uploads"] as { chunks: number }[];
  return uploads.reduce((sum, { chunks }) => sum + chunks, 0);
}

async function measureLibtorrent(bench: Bench): Promise<Measurement> {
  const { place, source, file, bytes } = bench;
  const path = join(await place.directory(), "file.torrent");
  const common = { transport: "tcp" as const, torrent: await writeTorrent(file, path) };
  const seeder = await startLibtorrent(place, { ...common, mode: "seed", directory: source });
  const targets = await directories(bench);
  const downloaders = await Promise.all(
    targets.map((directory) => startLibtorrent(place, { ...common, mode: "get", directory })),
  );
  const ids = downloaders.map(({ program }) => program.id);
  const ends = await new Ends([seeder.program.id], ids).ready();
  const startedAt = performance.now();
  await Promise.all(downloaders.map((one) => {
    const others = downloaders.filter((other) => other !== one);
    return one.get([seeder, ...others].map(({ port }) => port));
  }));
  const measurement = await ends.measurement((performance.now() - startedAt) / 1000);
  return await finished(bench, targets, withCopies(measurement, await seeder.uploaded() / bytes));
}

async function measureQbt(bench: Bench): Promise<Measurement> {
  const { place, source, file, bytes } = bench;
  const torrent = await writeTorrent(file, join(await place.directory(), "file.torrent"));
  const seeder = await startQbt(place);
  await seeder.add(torrent, source, true);
  await seeder.complete();
  const targets = await directories(bench);
  const downloaders = await Promise.all(targets.map(() => startQbt(place)));
  const ids = downloaders.map(({ program }) => program.id);
  const ends = await new Ends([seeder.program.id], ids).ready();
  const startedAt = performance.now();
  await Promise.all(downloaders.map((one, at) => one.add(torrent, targets[at] ?? "", false)));
  await Promise.all(downloaders.map(async (one) => {
    const others = downloaders.filter((other) => other !== one);
    await one.connect([seeder, ...others].map(({ peerPort }) => peerPort));
    await one.complete();
  }));
  const measurement = await ends.measurement((performance.now() - startedAt) / 1000);
  const sent = (await seeder.torrent())?.uploaded ?? 0;
  return await finished(bench, targets, withCopies(measurement, sent / bytes));
}

/** It tells nobody what it has sent. */
async function measureAria2(bench: Bench): Promise<Measurement> {
  const { place, source, file } = bench;
  await using tracker = openTorrentTracker();
  const path = join(await place.directory(), "file.torrent");
  const torrent = await writeTorrent(file, path, { announce: tracker.url });
  const seeder = start(place, aria2Seeding({ torrent, directory: source }));
  await tracker.announced(1);
  const targets = await directories(bench);
  const ends = await new Ends([seeder.id], []).ready();
  const startedAt = performance.now();
  await Promise.all(targets.map(async (directory) => {
    const downloader = start(place, aria2Joining({ torrent, directory }));
    await downloader.line((line) => line.endsWith("/file"), "end", limitMs);
  }));
  const measurement = await ends.measurement((performance.now() - startedAt) / 1000);
  return await finished(bench, targets, { ...measurement, cpu: null });
}

function withCopies(measurement: Measurement, copies: number): Measurement {
  return { ...measurement, more: { "copies sent": copies } };
}

async function directories({ place }: Bench): Promise<string[]> {
  return await Promise.all(Array.from({ length: downloaderCount }, () => place.directory()));
}

async function finished(
  { place, file }: Bench,
  targets: string[],
  measurement: Measurement,
): Promise<Measurement> {
  await place.endPrograms();
  for (const target of targets) {
    await requireSame(file, join(target, "file"));
    await Deno.remove(target, { recursive: true });
  }
  return measurement;
}
