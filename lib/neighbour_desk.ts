/**
 * Answers what other trackers of the group ask about peers of this one: introduces a peer of theirs to one of ours,
 * has paths relayed, passes on what concerns an introduction under way, and takes in that a peer has moved.
 */
import { awayPeerOf, sideOf } from "./away_peer.ts";
import { frameHeaderBytes } from "./frames.ts";
import type { GroupAnswer } from "./group_exchange.ts";
import type { GroupRequest } from "./group_messages.ts";
import type { Clock } from "./ports.ts";
import { isFailure, refused } from "./tracker_failure.ts";
import { decodeTrackerResponse, type TrackerResponse } from "./tracker_messages.ts";
import {
  introductionForTarget,
  otherSideOf,
  relayedPathOf,
  type RelayPaths,
} from "./tracker_session.ts";
import type { TrackerState } from "./tracker_state.ts";

export interface NeighbourDeskOptions {
  state: Pick<TrackerState, "introduceFrom" | "introductionOf" | "movedAway">;
  clock: Clock;
  trackerIp: string | undefined;
  /** Absent: nothing is relayed. */
  relay: RelayPaths | undefined;
  /** A message for a peer of this tracker, by id in hex. */
  deliver(peer: string, message: TrackerResponse): void;
  /** Looks where a peer of this tracker is. */
  observe(peer: string): void;
}

export class NeighbourDesk {
  readonly #options: NeighbourDeskOptions;

  constructor(options: NeighbourDeskOptions) {
    this.#options = options;
  }

  answer(request: GroupRequest): GroupAnswer {
    switch (request.type) {
      case "introduce":
        return this.#introduce(request);
      case "relay":
        return this.#relay(request);
      case "deliver":
        return this.#deliver(request);
      case "moved":
        this.#options.state.movedAway(request.peer.toHex());
        return { type: "done" };
    }
  }

  #introduce(request: Extract<GroupRequest, { type: "introduce" }>): GroupAnswer {
    const { state, clock, trackerIp, observe, deliver } = this.#options;
    const { token, digest } = request;
    const target = request.target.toHex();
    observe(target);
    const asker = sideOf(request.asker, request.from.toHex());
    const made = state.introduceFrom(asker, { token, digest, target }, clock.now());
    if (isFailure(made)) return { type: "failed", ...made };
    deliver(target, introductionForTarget(made));
    return { type: "introduced", target: awayPeerOf(made.target, trackerIp) };
  }

  #relay({ token, peer }: Extract<GroupRequest, { type: "relay" }>): GroupAnswer {
    const { state, relay, clock, trackerIp, deliver } = this.#options;
    if (!relay) return { type: "failed", ...refused("this tracker relays nothing") };
    const introduction = state.introductionOf(peer.toHex(), token, clock.now());
    const away = introduction?.target;
    if (!introduction || away?.tracker == null || away.key !== peer.toHex()) {
      return { type: "failed", ...refused("there is no such introduction") };
    }
    const other = otherSideOf(introduction, away);
    const path = relayedPathOf(relay, { token, peer: away, other, trackerIp });
    if (path === null) {
      return { type: "failed", failure: "too-many", text: "too many paths are relayed" };
    }
    if (path.isNew) deliver(other.key, { ...path.others, request: 0 });
    return { type: "relayed", transport: path.own.transport, address: path.own.address };
  }

  /** Only what one side of an introduction may have for the other is passed on. */
  #deliver({ token, to, frame }: Extract<GroupRequest, { type: "deliver" }>): GroupAnswer {
    const { state, clock, deliver } = this.#options;
    const payload = frame.subarray(frameHeaderBytes);
    const message = decodeTrackerResponse(frame[frameHeaderBytes - 1] ?? 0, payload);
    const isAllowed = message.type === "relayed" || message.type === "probing";
    if (!isAllowed || state.introductionOf(to.toHex(), token, clock.now()) === null) {
      return { type: "failed", ...refused("there is no such introduction") };
    }
    deliver(to.toHex(), message);
    return { type: "done" };
  }
}
