/**
 * Many small files from one peer to another, asked for at once, beside libtorrent with the same files as one torrent,
 * Syncthing and `cp`.
 */
import { join } from "node:path";
import { formatCount } from "../lib/format.ts";
import type { Playground } from "../tests/programs.ts";
import {
  type BenchCase,
  type Contender,
  Ends,
  limitMs,
  measureCommand,
  type Measurement,
  missingCommand,
  settled,
  type Setup,
} from "./bench_ground.ts";
import { missingLibtorrent, startLibtorrent } from "./bench_libtorrent.ts";
import { runSyncthing } from "./bench_syncthing.ts";
import { writeTorrent } from "./bench_torrent.ts";

export const smallFileBytes = 4096;

const defaultBytes = 10_000 * smallFileBytes;

const pieceBytes = 256 * 1024;

/** What is made warm before each: the programs take far more than the files. */
const warmBytes = 256 * 1024 * 1024;

export const small: BenchCase = {
  name: "small",
  references: ["libtorrent"],
  copies: 20,
  bytes: defaultBytes,
  async prepare({ place, bytes }: Setup) {
    const folder = join(await place.directory(), "many");
    const count = Math.floor(bytes / smallFileBytes);
    await fillFolder(folder, count);
    const contenders = settled(warmBytes, contendersOf({ place, folder, count }));
    return { title: `${formatCount(count, "file")} of ${smallFileBytes} bytes`, bytes, contenders };
  },
};

interface Folder {
  place: Playground;
  folder: string;
  count: number;
}

/** Files of noise. */
export async function fillFolder(folder: string, count: number): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const content = new Uint8Array(smallFileBytes);
  for (let number = 0; number < count; number++) {
    crypto.getRandomValues(content);
    Deno.writeFileSync(join(folder, `file ${number}`), content);
  }
}

function contendersOf(folder: Folder): Contender[] {
  return [
    { what: "cp", measure: () => measureCopy(folder) },
    { what: "peer", measure: () => measurePeer(folder) },
    { what: "libtorrent", missing: missingLibtorrent, measure: () => measureLibtorrent(folder) },
    {
      what: "Syncthing",
      missing: () => missingCommand("syncthing"),
      measure: () => measureSyncthing(folder),
    },
  ];
}

async function measureCopy({ place, folder }: Folder): Promise<Measurement> {
  const target = await place.directory();
  const measurement = await measureCommand(place, ["cp", "-r", folder, target]);
  await Deno.remove(target, { recursive: true });
  return { ...measurement, sender: null };
}

async function measurePeer({ place, folder, count }: Folder): Promise<Measurement> {
  const { link } = await place.tracker();
  const seeder = await place.seeder(join(folder, ".."), link);
  await place.listing(link, (rows) => rows.length === count);
  const target = await place.directory();
  const receiver = place.start("peer", ["--dir", target, "--tracker", link, "--json"]);
  await receiver.event((event) => event["event"] === "ready", "start");
  const ends = await new Ends([seeder.id], [receiver.id]).ready();
  const startedAt = performance.now();
  await receiver.type("get many/");
  await receiver.type("digest /nowhere");
  // The next command is run when the downloads have ended.
  await receiver.complaint("/nowhere", limitMs);
  const measurement = await ends.measurement((performance.now() - startedAt) / 1000);
  return await finished({ place, folder, count }, target, measurement);
}

async function measureLibtorrent({ place, folder, count }: Folder): Promise<Measurement> {
  const path = join(await place.directory(), "many.torrent");
  const common = {
    transport: "tcp" as const,
    torrent: await writeTorrent(folder, path, { pieceBytes }),
  };
  const directory = join(folder, "..");
  const sender = await startLibtorrent(place, { ...common, mode: "seed", directory });
  const target = await place.directory();
  const receiver = await startLibtorrent(place, { ...common, mode: "get", directory: target });
  const ends = await new Ends([sender.program.id], [receiver.program.id]).ready();
  const seconds = await receiver.get([sender.port]);
  return await finished({ place, folder, count }, target, await ends.measurement(seconds));
}

async function measureSyncthing({ place, folder, count }: Folder): Promise<Measurement> {
  const source = join(folder, "..");
  const check = (target: string) => requireAll(folder, target);
  return await runSyncthing({ place, source, bytes: count * smallFileBytes, check });
}

async function finished(
  { place, folder }: Folder,
  target: string,
  measurement: Measurement,
): Promise<Measurement> {
  await place.endPrograms();
  await requireAll(folder, target);
  await Deno.remove(target, { recursive: true });
  return measurement;
}

async function requireAll(folder: string, target: string): Promise<void> {
  const args = ["--recursive", "--brief", folder, join(target, "many")];
  const { success } = await new Deno.Command("diff", { args }).output();
  if (!success) throw new Error(`${target} differs from what was sent`);
}
