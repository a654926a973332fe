/**
 * A peer in this process that tells how long it took from the wish for a file to its first verified chunk, for `bench_first_chunk.ts`.
 *
 *     first_chunk.ts DIRECTORY LINK NAME…   prints {"ready"}, waits for a line, prints {"seconds"} for the last
 *
 * Of the files before the last one, a chunk of each has been fetched when it is ready.
 */
import { startRealPeer } from "../lib/peer_start.ts";
import type { PeerControl } from "../lib/control.ts";

/** How often it is looked: who looks without a pause keeps the runtime from its sockets. */
const lookMs = 1;

const limitMs = 10_000;

const [dir = "", tracker = "", ...names] = Deno.args;
const last = names.pop() ?? "";
const peer = await startRealPeer(
  { dir, tracker, secret: null, port: 0, up: 0, down: 0, json: true },
  { onScan() {}, onNotice() {}, signal: new AbortController().signal },
);
for (const name of names) await firstChunk(peer, name);
console.log(JSON.stringify({ ready: true }));
await Deno.stdin.read(new Uint8Array(16));
console.log(JSON.stringify({ seconds: await firstChunk(peer, last) / 1000 }));
await peer.quit();
Deno.exit(0);

/** Milliseconds. */
async function firstChunk(peer: PeerControl, wanted: string): Promise<number> {
  const startedAt = performance.now();
  const file = (await peer.list()).find(({ name }) => name === wanted);
  if (!file) throw new Error(`the tracker doesn't list ${wanted}`);
  const download = peer.download(file);
  while (download.status().have === 0) {
    if (performance.now() - startedAt > limitMs) throw new Error("no chunk came");
    await new Promise((resolve) => setTimeout(resolve, lookMs));
  }
  return performance.now() - startedAt;
}
