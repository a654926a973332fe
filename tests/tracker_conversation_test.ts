import { assert, assertEquals } from "@std/assert";
import { haveBatchMs, maxTrackerFrameBytes, minChunkBytes } from "../lib/constants.ts";
import { FramedStream } from "../lib/framed_stream.ts";
import type { Connection } from "../lib/ports.ts";
import { requestTimeoutMs } from "../lib/open_questions.ts";
import { TrackerConversation, type TrackerConversationEvent } from "../lib/tracker_conversation.ts";
import type { TrackerLine } from "../lib/tracker_dial.ts";
import {
  decodeTrackerRequest,
  encodeTrackerResponse,
  type TrackerRequest,
  type TrackerResponse,
} from "../lib/tracker_messages.ts";
import { MemoryNetwork, VirtualClock } from "./memory_network.ts";
import { announced, bytesOf } from "./tracker_fixture.ts";

const limits = { maxFrameBytes: maxTrackerFrameBytes };
const observed = { ip: "203.0.113.5", port: 40_000 };
const welcome: TrackerResponse = {
  type: "joined",
  observed,
  heartbeatMs: 15_000,
  probePort: 0,
  echoPort: 0,
};

/** The tracker's end of a line. */
class TrackerEnd {
  readonly heard: TrackerRequest[] = [];
  readonly connection: Connection;
  readonly #stream: FramedStream;

  constructor(connection: Connection, stream: FramedStream) {
    this.connection = connection;
    this.#stream = stream;
    void this.#listen();
  }

  get types(): string[] {
    return this.heard.map(({ type }) => type);
  }

  say(message: TrackerResponse): void {
    void this.#stream.write(encodeTrackerResponse(message));
  }

  async #listen(): Promise<void> {
    try {
      for await (const frame of this.#stream) {
        if (frame.kind !== "whole") throw new Error("it was no whole frame");
        this.heard.push(decodeTrackerRequest(frame.type, frame.payload));
      }
    } catch {
      // The connection is gone.
    }
  }
}

class Scene {
  readonly clock = new VirtualClock();
  readonly events: TrackerConversationEvent[] = [];
  readonly conversation: TrackerConversation;
  readonly #network = new MemoryNetwork({ clock: this.clock, latencyMs: 5 });
  readonly #own = this.#network.endpoint({ id: bytesOf(1) });
  readonly #tracker = this.#network.endpoint({ id: bytesOf(2), port: 7_400 });

  constructor() {
    this.conversation = new TrackerConversation({
      local: { listenPort: 5_000, hosts: [], nat: "unknown" },
      clock: this.clock,
      onEvent: (event) => this.events.push(event),
    });
  }

  get eventTypes(): string[] {
    return this.events.map(({ type }) => type);
  }

  async line(): Promise<{ line: TrackerLine; end: TrackerEnd }> {
    const connection = await this.clock.run(
      this.#own.dial(this.#tracker.local, { expectedId: bytesOf(2), timeoutMs: 1_000 }),
    );
    const stream = new FramedStream(await connection.openStream(), { limits });
    const other = (await this.clock.run(this.#tracker.accept()))!;
    const accepted = (await this.clock.run(other.acceptStream()))!;
    const end = new TrackerEnd(other, new FramedStream(accepted, { limits }));
    return { line: { connection, stream }, end };
  }

  /** A conversation under way, whose tracker has let us in. */
  async talk(): Promise<{ end: TrackerEnd; over: Promise<void> }> {
    const { line, end } = await this.line();
    const over = this.conversation.talk(line);
    end.say(welcome);
    await this.clock.advance(20);
    return { end, over };
  }
}

Deno.test("talk() joins, hands on what the tracker says and says what there is to say", async () => {
  const scene = new Scene();
  scene.conversation.act((client) => client.announce([announced(1)]));
  const { end } = await scene.talk();
  assertEquals(end.types, ["join", "announce"]);
  assertEquals(scene.events, [{ type: "joined", observed, probePort: 0, echoPort: 0 }]);
  assertEquals([scene.conversation.observed, scene.conversation.connection?.remote.port], [
    observed,
    7_400,
  ]);
});

Deno.test("act() sends at once what comes of it, and wakes the client for what is due later", async () => {
  const scene = new Scene();
  const held = new Uint8Array(1);
  const file = { ...announced(1), length: 8 * minChunkBytes, held };
  scene.conversation.act((client) => client.announce([file]));
  const { end } = await scene.talk();
  const asked = scene.conversation.act((client, now) => {
    client.have(bytesOf(1), 3, now);
    return client.ask({ type: "peers", digest: bytesOf(1) }, now);
  });
  await scene.clock.advance(10);
  assertEquals(end.types, ["join", "announce", "peers"]);
  await scene.clock.advance(haveBatchMs);
  assertEquals(end.types, ["join", "announce", "peers", "have"]);
  await scene.clock.advance(requestTimeoutMs);
  const text = "the tracker doesn't answer";
  assertEquals(scene.events.at(-1), { type: "failed", request: asked, failure: "timeout", text });
});

Deno.test("talk() ends with the connection, and says so after what was asked has failed", async () => {
  const scene = new Scene();
  const { end, over } = await scene.talk();
  scene.conversation.act((client, now) => client.ask({ type: "peers", digest: bytesOf(1) }, now));
  await scene.clock.advance(10);
  end.connection.close();
  await scene.clock.run(over);
  assertEquals(scene.eventTypes, ["joined", "failed", "lost"]);
  assertEquals([scene.conversation.connection, scene.conversation.observed], [null, null]);
});

Deno.test("talk() ends when the tracker refuses, and says why in words fit for a terminal", async () => {
  const scene = new Scene();
  const { line, end } = await scene.line();
  const over = scene.conversation.talk(line);
  end.say({ type: "failure", request: 0, failure: "refused", text: "no\u001b[31m" });
  await scene.clock.run(over);
  assertEquals(scene.events, [{ type: "lost", reason: "no?[31m" }]);
  await scene.clock.run(end.connection.closed);
});

Deno.test("talk() makes texts of the tracker's fit for a terminal", async () => {
  const scene = new Scene();
  const { end } = await scene.talk();
  const request = scene.conversation.act((client, now) =>
    client.ask({ type: "peers", digest: bytesOf(1) }, now)
  );
  await scene.clock.advance(10);
  for (const number of [0, request]) {
    end.say({ type: "failure", request: number, failure: "refused", text: "a\u0007b" });
  }
  await scene.clock.advance(10);
  assertEquals(scene.events.slice(1), [
    { type: "complaint", failure: "refused", text: "a?b" },
    { type: "failed", request, failure: "refused", text: "a?b" },
  ]);
});

Deno.test("talk() goes on over another connection: all that was announced is said again", async () => {
  const scene = new Scene();
  scene.conversation.act((client) => client.announce([announced(1)]));
  const first = await scene.talk();
  first.end.connection.close();
  await scene.clock.run(first.over);
  const second = await scene.talk();
  assertEquals(second.end.types, ["join", "announce"]);
  assertEquals(scene.eventTypes, ["joined", "lost", "joined"]);
});

Deno.test("close() ends the connection that there is and leaves no timer behind", async () => {
  const scene = new Scene();
  const { end, over } = await scene.talk();
  assert(scene.clock.pending > 0);
  scene.conversation.close();
  await scene.clock.run(over);
  await scene.clock.run(end.connection.closed);
  scene.conversation.act((client, now) => client.checkIn(now));
  await scene.clock.advance(20);
  assertEquals(scene.clock.pending, 0);
});

Deno.test("talk() ends at once, without a word, after close()", async () => {
  const scene = new Scene();
  const { line, end } = await scene.line();
  scene.conversation.close();
  await scene.conversation.talk(line);
  await scene.clock.run(end.connection.closed);
  assertEquals([end.types, scene.events], [[], []]);
});
