/**
 * From `get` at a running peer to the first verified chunk: the list, the introduction, the connection, the manifest,
 * the request and the chunk.
 * Measured inside the downloading process, `first_chunk.ts`, because what a program prints arrives when it likes.
 */
import { join } from "node:path";
import { formatBytes } from "../lib/format.ts";
import type { Playground } from "../tests/programs.ts";
import {
  type BenchCase,
  type Contender,
  fill,
  type Measurement,
  secondsIn,
  type Setup,
  start,
} from "./bench_ground.ts";

const defaultBytes = 64 * 1024 ** 2;

const firstChunkScript = join(import.meta.dirname ?? "", "first_chunk.ts");

/** After a peer's start its NAT is looked at; whoever types is slower. */
const restMs = 1000;

interface Bench {
  place: Playground;
  source: string;
}

export const firstChunk: BenchCase = {
  name: "first-chunk",
  references: [],
  copies: 5,
  bytes: defaultBytes,
  async prepare({ place, bytes }: Setup) {
    const source = await place.directory();
    for (const name of ["first", "second"]) await fill(join(source, name), bytes);
    const title = `from "get" to the first verified chunk of ${formatBytes(bytes)}`;
    return { title, contenders: contendersOf({ place, source }) };
  },
};

function contendersOf(bench: Bench): Contender[] {
  return [
    { what: "peer, first get", measure: () => measurePeer(bench, ["first"]) },
    { what: "peer, connected before", measure: () => measurePeer(bench, ["first", "second"]) },
  ];
}

async function measurePeer({ place, source }: Bench, names: string[]): Promise<Measurement> {
  const { link } = await place.tracker();
  await place.seeder(source, link);
  await place.listing(link, (rows) => rows.length === 2);
  const target = await place.directory();
  const command = [
    Deno.execPath(),
    "run",
    "-A",
    "--quiet",
    firstChunkScript,
    target,
    link,
    ...names,
  ];
  const receiver = start(place, command);
  await receiver.event((event) => "ready" in event, "start");
  await new Promise((resolve) => setTimeout(resolve, restMs));
  await receiver.type("go");
  const told = await receiver.event((event) => "seconds" in event, "end");
  await place.endPrograms();
  await Deno.remove(target, { recursive: true });
  return { seconds: secondsIn(told), cpu: null, sender: null, receiver: null };
}
