/**
 * How a peer starts: its directory is looked at, on all cores where there is much to hash, while all that talks to
 * others is loaded and the tracker joined.
 */
import { openStore } from "./deno_files.ts";
import type { PeerControl } from "./control.ts";
import type { PeerSettings } from "./options.ts";
import type { StartListeners } from "./peer_factory.ts";

/** Starts sharing the directory. Throws `UserError`. */
export async function startRealPeer(
  settings: PeerSettings,
  listeners: StartListeners,
): Promise<PeerControl> {
  const { onScan, signal } = listeners;
  const store = await openStore(settings.dir, { onProgress: onScan });
  const undos: (() => Promise<void> | void)[] = [() => store.close()];
  try {
    signal.addEventListener("abort", () => void store.close(), { once: true });
    signal.throwIfAborted();
    const scanned = store.scan();
    // Whoever joins hears of it, unless that fails first.
    scanned.catch(() => {});
    const { joinWithStore } = await import("./deno_peer.ts");
    const onDone = (undo: () => Promise<void> | void) => void undos.push(undo);
    return await joinWithStore({ settings, store, scanned, listeners, onDone });
  } catch (error) {
    for (let undo = undos.pop(); undo; undo = undos.pop()) await undo();
    throw error;
  }
}
