/**
 * A peer as two trackers of a group tell each other of it (`group_messages.ts`), and as one side of an introduction.
 */
import { isLoopback } from "./address.ts";
import type { PeerWhereabouts } from "./candidates.ts";
import type { AwayPeer } from "./group_messages.ts";
import type { IntroductionSide } from "./introduction_table.ts";

/** What another tracker is told of a peer. One on this machine is, for others, where this tracker is. */
export function awayPeerOf(
  { id, nat, whereabouts }: Pick<IntroductionSide, "id" | "nat" | "whereabouts">,
  trackerIp: string | undefined,
): AwayPeer {
  return { peer: id, nat, whereabouts: seenFromOutside(whereabouts, trackerIp) };
}

/** The side of an introduction that is at `tracker`, which has told of it. */
export function sideOf({ peer, nat, whereabouts }: AwayPeer, tracker: string): IntroductionSide {
  return { id: peer, key: peer.toHex(), nat, whereabouts, presence: "here", tracker };
}

function seenFromOutside(
  { also = null, ...whereabouts }: PeerWhereabouts,
  trackerIp: string | undefined,
): Required<PeerWhereabouts> {
  const { observed } = whereabouts;
  const isSeen = trackerIp === undefined || isLoopback(trackerIp) || !isLoopback(observed.ip);
  const ip = isSeen ? observed.ip : trackerIp;
  return { ...whereabouts, also, observed: { ip, port: observed.port } };
}
