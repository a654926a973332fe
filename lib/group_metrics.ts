/**
 * The numbers of a tracker that is one of several, for a monitoring system. A tracker that is alone has none of
 * them.
 */
import type { MetricsRegistry, Sample } from "./metrics.ts";
import type { GroupStatistics } from "./tracker_group.ts";
import type { TrackerNode } from "./tracker_node.ts";
import type { StoreTrouble } from "./tracker_store.ts";

const troubles: readonly StoreTrouble[] = ["unreachable", "slow", "full", "confused"];

/** Registers them, if the tracker is one of several. */
export function registerGroupMetrics(metrics: MetricsRegistry, node: TrackerNode): void {
  const first = node.statistics.group;
  if (first === null) return;
  const of = (read: (group: GroupStatistics) => number) => () =>
    read(node.statistics.group ?? first);
  const gauge = (name: string, help: string, read: (group: GroupStatistics) => number) =>
    metrics.gaugeOf(`p2p_tracker_${name}`, help, of(read));
  const counter = (name: string, help: string, read: (group: GroupStatistics) => number) =>
    metrics.counterOf(`p2p_tracker_${name}_total`, help, of(read));
  gauge("group_trackers", "Other trackers of the group that are there.", (it) => it.trackers);
  gauge("group_files", "Files that peers of other trackers hold.", (it) => it.awayFiles);
  gauge("store_unsaid", "Changes that the store hasn't been told of.", (it) => it.unsaid);
  gauge("store_write_seconds", "How long the last write took.", (it) => it.lastWriteMs / 1000);
  counter("store_writes", "Writes to the store.", (it) => it.writes);
  counter("store_files", "Files written to the store.", (it) => it.writtenFiles);
  counter("store_holders", "Holders written to the store.", (it) => it.writtenHolders);
  counter("store_failures", "Calls of the store that failed.", (it) => it.failures);
  counter("group_introductions", "Introductions with another tracker.", (it) => it.introductions);
  metrics.gaugeOf("p2p_tracker_store_trouble", "1 for what is wrong with the store.", () => {
    const trouble = node.storeHealth?.trouble;
    return troubles.map((each) => ({ value: each === trouble ? 1 : 0, labels: { trouble: each } }));
  });
  metrics.counterOf(
    "p2p_tracker_group_messages_total",
    "Questions between trackers, by what became of them.",
    () => exchangeSamples(node.statistics.group ?? first),
  );
}

/** One line on how what is shared does, without saying where it is; "" if nothing is wrong. */
export function troubleLine(node: TrackerNode): string {
  const trouble = node.storeHealth?.trouble ?? null;
  return trouble === null ? "" : `store ${trouble}: peers of this tracker are served on\n`;
}

function exchangeSamples({ exchange }: GroupStatistics): Sample[] {
  return Object.entries(exchange).map(([fate, value]) => ({ value, labels: { fate } }));
}
