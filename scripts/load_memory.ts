/**
 * `deno task load --memory`: a tracker and more peers than sockets would carry, in this process, on the network in
 * memory of the tests. There is no QUIC and no kernel in it: what is measured is the code of both ends, and what a
 * peer costs the tracker beside its connection.
 */
import { systemClock } from "../lib/deno_clock.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { TrackerNode } from "../lib/tracker_node.ts";
import { MemoryNetwork, SeededRandom } from "../tests/memory_network.ts";
import { Latencies } from "./load_latencies.ts";
import { LoadPeer } from "./load_peer.ts";
import { fileOf } from "./load_worker.ts";

const trackerAddress = { ip: "127.0.0.1", port: 7400 };
const parallel = 64;

export interface MemoryPlan {
  peers: number;
  seconds: number;
}

/** Prints its figures. */
export async function runInMemory({ peers, seconds }: MemoryPlan): Promise<void> {
  const network = new MemoryNetwork({ clock: systemClock });
  const { id } = generateIdentity();
  const random = new SeededRandom(1);
  const limits = { peers, connections: peers, connectionsPerBlock: peers };
  const node = new TrackerNode({
    endpoints: [network.endpoint({ id, kind: "quic", ...trackerAddress })],
    id,
    secret: null,
    clock: systemClock,
    random,
    limits,
  });
  node.start();
  const emptyBytes = Deno.memoryUsage().heapUsed;
  const beganMs = performance.now();
  const joined: LoadPeer[] = [];
  await inParallel(peers, async (number) => {
    const identity = generateIdentity();
    const endpoint = network.endpoint({ id: identity.id, kind: "quic" });
    const options = { identity, endpoint, tracker: trackerAddress, trackerId: id };
    const peer = new LoadPeer({ ...options, clock: systemClock });
    joined[number] = peer;
    await peer.join();
    peer.say({ type: "announce", files: [fileOf(number)] });
  });
  const passed = (performance.now() - beganMs) / 1000;
  const bytes = Deno.memoryUsage().heapUsed - emptyBytes;
  console.log(
    `${node.statistics.peers} simulated peers joined: ${(peers / passed).toFixed(0)} per second, ` +
      `${(bytes / peers / 1024).toFixed(1)} KiB of heap for both ends of each`,
  );
  for (const kind of ["introduce", "peers"] as const) await ask(joined, kind, seconds);
  await node.close();
}

async function ask(peers: LoadPeer[], kind: "introduce" | "peers", seconds: number): Promise<void> {
  const latencies = new Latencies();
  const endMs = performance.now() + seconds * 1000;
  let next = 0;
  await inParallel(parallel, async () => {
    while (performance.now() < endMs) {
      const number = next++ % peers.length;
      const other = (number + 1) % peers.length;
      const { digest } = fileOf(other);
      const beganMs = performance.now();
      await peers[number]!.ask(
        kind === "peers"
          ? { type: "peers", digest }
          : { type: kind, digest, peer: peers[other]!.id },
      );
      latencies.add(performance.now() - beganMs);
    }
  });
  console.log(
    `${kind}: ${(latencies.count / seconds).toFixed(0)} per second, both ends on one core`,
  );
}

async function inParallel(count: number, run: (number: number) => Promise<void>): Promise<void> {
  let next = 0;
  const runOneByOne = async () => {
    while (next < count) await run(next++);
  };
  await Promise.all(Array.from({ length: parallel }, runOneByOne));
}
