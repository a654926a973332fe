/**
 * The contenders that need nothing but this repository: a plain copy, bare encrypted sockets, and the peer itself.
 */
import { join } from "node:path";
import { type JsonLine, type Program, repository } from "../tests/programs.ts";
import {
  type Bench,
  type Contender,
  Ends,
  limitMs,
  measureCommand,
  type Measurement,
  requireSame,
  secondsIn,
  start,
} from "./bench_ground.ts";

type Transport = "tcp" | "quic";

export function ours(bench: Bench): Contender[] {
  return [
    { what: "cp", measure: () => measureCopy(bench) },
    { what: "raw TLS/TCP", measure: () => measureRaw(bench, "tcp") },
    { what: "peer over TCP", measure: () => measurePeer(bench, "tcp") },
    { what: "raw QUIC", measure: () => measureRaw(bench, "quic") },
    { what: "peer over QUIC", measure: () => measurePeer(bench, "quic") },
  ];
}

async function measureCopy(bench: Bench): Promise<Measurement> {
  const copy = join(await bench.place.directory(), "file");
  const measurement = await measureCommand(bench.place, ["cp", bench.file, copy]);
  await Deno.remove(copy);
  return { ...measurement, sender: null };
}

async function measureRaw(bench: Bench, transport: Transport): Promise<Measurement> {
  const { place, file } = bench;
  const copy = join(await place.directory(), "file");
  const sender = startRaw(bench, ["send", transport, file]);
  const where = await sender.event((event) => "port" in event, "port");
  const words = ["receive", transport, `${where["port"]}`, `${where["id"]}`, copy];
  const receiver = startRaw(bench, words);
  await receiver.event((event) => "ready" in event, "start");
  const ends = await new Ends([sender.id], [receiver.id]).ready();
  await receiver.type("go");
  const done = await receiver.event((event) => "seconds" in event, "end", limitMs);
  return await checked(bench, { copy, measurement: await ends.measurement(secondsIn(done)) });
}

async function measurePeer(bench: Bench, transport: Transport): Promise<Measurement> {
  const { place, source } = bench;
  const env = { P2P_TRANSPORT: transport };
  const { link } = await place.tracker();
  const sender = await place.seeder(source, link, [], { env });
  const [row] = await place.listing(link, (rows) => rows.length === 1);
  const target = await place.directory();
  const receiver = place.start("peer", ["--dir", target, "--tracker", link, "--json"], { env });
  await receiver.event((event) => event["event"] === "ready", "start");
  const ends = await new Ends([sender.id], [receiver.id]).ready();
  await receiver.type(`get ${row?.["digest"]}`);
  const done = await receiver.event((event) => event["event"] === "complete", "end", limitMs);
  requireTransport(done, transport);
  const measurement = await ends.measurement(secondsIn(done));
  return await checked(bench, { copy: join(target, "file"), measurement });
}

function requireTransport(complete: JsonLine, transport: Transport): void {
  const vias = (complete["sources"] as { via: string }[]).map((source) => source.via);
  if (vias.join() !== transport) throw new Error(`asked for ${transport}, came by ${vias.join()}`);
}

async function checked(
  { file, place }: Bench,
  { copy, measurement }: { copy: string; measurement: Measurement },
): Promise<Measurement> {
  await requireSame(file, copy);
  await place.endPrograms();
  await Deno.remove(copy);
  return measurement;
}

function startRaw({ place }: Bench, words: string[]): Program {
  const script = join(repository, "scripts", "raw_transfer.ts");
  return start(place, [Deno.execPath(), "run", "-A", "--quiet", script, ...words]);
}
