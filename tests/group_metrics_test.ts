import { assert, assertEquals } from "@std/assert";
import { registerGroupMetrics, troubleLine } from "../lib/group_metrics.ts";
import { MemoryShelf, MemoryTrackerStore } from "../lib/memory_tracker_store.ts";
import { MetricsRegistry } from "../lib/metrics.ts";
import { TrackerNode } from "../lib/tracker_node.ts";
import type { TrackerStore } from "../lib/tracker_store.ts";
import { SeededRandom, VirtualClock } from "./memory_network.ts";

const clock = new VirtualClock();
const random = new SeededRandom(3);

function nodeOver(store: TrackerStore | undefined): TrackerNode {
  const id = new Uint8Array(32);
  return new TrackerNode({ endpoints: [], id, secret: null, clock, random, store });
}

function metricsOf(node: TrackerNode): string {
  const metrics = new MetricsRegistry();
  registerGroupMetrics(metrics, node);
  return metrics.text();
}

Deno.test("a tracker that is alone has no numbers of a group", () => {
  assertEquals(metricsOf(nodeOver(undefined)), "");
  assertEquals(metricsOf(nodeOver(new MemoryTrackerStore({ clock, random }))), "");
});

Deno.test("the numbers of a group tell of other trackers and of what is wrong with the store", async () => {
  const shelf = new MemoryShelf({ clock, random });
  const [node, other] = [0, 1].map(() => nodeOver(new MemoryTrackerStore(shelf)));
  node!.start();
  other!.start();
  await clock.advance(10_000);
  assert(metricsOf(node!).includes("\np2p_tracker_group_trackers 1\n"));
  assert(metricsOf(node!).includes('p2p_tracker_store_trouble{trouble="slow"} 0\n'));
  assertEquals(troubleLine(node!), "");
  shelf.trouble = "slow";
  await clock.advance(10_000);
  assert(metricsOf(node!).includes('p2p_tracker_store_trouble{trouble="slow"} 1\n'));
  assert(metricsOf(node!).includes('p2p_tracker_group_messages_total{fate="lost"} 0\n'));
  assert(/store_failures_total [1-9]/.test(metricsOf(node!)));
  assertEquals(troubleLine(node!), "store slow: peers of this tracker are served on\n");
  await clock.run(Promise.all([node!.close(), other!.close()]));
});
