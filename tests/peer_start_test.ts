import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../lib/errors.ts";
import { formatJoinLink } from "../lib/join_link.ts";
import type { PeerSettings } from "../lib/options.ts";
import type { ScanProgress } from "../lib/peer_factory.ts";
import { startRealPeer } from "../lib/peer_start.ts";
import { inDirectory, sample } from "./store_fixture.ts";

const fileCount = 5;

/** A tracker that takes connections and says nothing, a directory of some files, and a peer that starts there. */
async function withSilentTracker(
  test: (settings: PeerSettings) => Promise<void>,
): Promise<void> {
  await inDirectory(async (dir) => {
    for (let number = 0; number < fileCount; number++) {
      Deno.writeFileSync(`${dir}/${number}`, sample(1000 + number));
    }
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    const id = new Uint8Array(32).fill(9);
    const tracker = formatJoinLink({ hosts: [{ host: "127.0.0.1", port }], id, secret: null });
    await test({ dir, tracker, secret: null, port: 0, up: 0, down: 0, json: true });
  });
}

Deno.test("startRealPeer() looks at the directory while the tracker is being joined", () =>
  withSilentTracker(async (settings) => {
    const stop = new AbortController();
    const seen = Promise.withResolvers<ScanProgress>();
    const onScan = (progress: ScanProgress) => {
      if (progress.files === fileCount) seen.resolve(progress);
    };
    const starting = startRealPeer(settings, { onScan, onNotice() {}, signal: stop.signal });
    starting.catch(seen.reject);
    assertEquals((await seen.promise).totalFiles, fileCount);
    stop.abort();
    await assertRejects(() => starting, UserError);
    // Whoever comes next finds it unlocked.
    const next = AbortSignal.abort(new Error("stopped"));
    const again = () => startRealPeer(settings, { onScan() {}, onNotice() {}, signal: next });
    await assertRejects(again, Error, "stopped");
  }));

Deno.test("startRealPeer() fails at once when the directory can't be looked at, whatever the tracker does", () =>
  withSilentTracker(async (settings) => {
    const startedAt = performance.now();
    const onScan = () => {
      throw new UserError("failed", "no more");
    };
    const { signal } = new AbortController();
    const thrown = await assertRejects(
      () => startRealPeer(settings, { onScan, onNotice() {}, signal }),
      UserError,
    );
    assertEquals(thrown.message, "no more");
    assert(performance.now() - startedAt < 5_000);
  }));
