import { assert, assertEquals } from "@std/assert";
import { ChunkReceiver, type ReceiverEvent } from "../lib/chunk_receiver.ts";
import { UserError } from "../lib/errors.ts";
import { settle } from "./memory_network.ts";

const digest = new Uint8Array(32).fill(7);
const length = 100_000;
/** Chunks of one size that may be verified while others come. */
const maxLarge = 8;
const maxSmall = 192;

type Outcome = "stored" | "corrupt" | Error;

interface Scene {
  receiver: ChunkReceiver;
  /** What the store did: writes, verifications and discards, by the chunk. */
  log: string[];
  events: ReceiverEvent[];
  store: { openError: Error | null; write: () => void | Promise<void>; isWanted: boolean };
  /** Has the limit hold back what comes until the returned function is called. */
  holdBack(): () => void;
  /** A chunk that is being verified is through. */
  finish(chunk: number, outcome: Outcome): Promise<void>;
}

function scene(): Scene {
  const log: string[] = [];
  const events: ReceiverEvent[] = [];
  const store: Scene["store"] = { openError: null, write: () => {}, isWanted: true };
  const verifying = new Map<number, (outcome: Outcome) => void>();
  let limit: Promise<void> | null = null;
  const writerOf = (chunk: number) => ({
    room: () => Uint8Array.of(chunk),
    write: (bytes: Uint8Array) => {
      log.push(`write ${chunk}: ${bytes.length}`);
      return store.write();
    },
    finish: () => {
      log.push(`finish ${chunk}`);
      return new Promise<"stored" | "corrupt">((resolve, reject) =>
        verifying.set(chunk, (outcome) => {
          if (outcome instanceof Error) reject(outcome);
          else resolve(outcome);
        })
      );
    },
    discard: () => void log.push(`discard ${chunk}`),
  });
  const receiver = new ChunkReceiver({
    store: {
      openChunk: (_digest, chunk) => {
        if (store.openError) throw store.openError;
        return writerOf(chunk);
      },
    },
    limits: { takeDown: () => limit },
    wants: () => store.isWanted,
    onEvent: (event) => events.push(event),
  });
  const holdBack = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    limit = promise;
    return resolve;
  };
  const finish = async (chunk: number, outcome: Outcome) => {
    verifying.get(chunk)?.(outcome);
    await settle();
  };
  return { receiver, log, events, store, holdBack, finish };
}

interface Part {
  chunk?: number;
  stream?: number;
  bytes?: number;
  remaining?: number;
}

/** By default all of the chunk. */
function take({ receiver }: Scene, { chunk = 0, stream = 0, bytes = length, remaining = 0 }: Part) {
  const arrival = { digest, chunk, length: bytes + remaining, remaining };
  return receiver.take(stream, new Uint8Array(bytes), arrival);
}

/** A whole chunk comes. */
function bring(at: Scene, { chunk = 0, stream = 0, bytes = length }: Part = {}) {
  at.receiver.begin({ stream, digest, chunk });
  return take(at, { chunk, stream, bytes });
}

async function isPending(promise: Promise<void> | null): Promise<boolean> {
  const pending = Symbol();
  await settle();
  return await Promise.race([promise, Promise.resolve(pending)]) === pending;
}

Deno.test("ChunkReceiver writes what comes, verifies it, and waits for nothing meanwhile", async () => {
  const at = scene();
  at.receiver.begin({ stream: 0, digest, chunk: 3 });
  assertEquals(at.receiver.room(0), Uint8Array.of(3));
  assertEquals(take(at, { chunk: 3, bytes: 60, remaining: 40 }), null);
  assertEquals(take(at, { chunk: 3, bytes: 40 }), null);
  assertEquals(at.log, ["write 3: 60", "write 3: 40", "finish 3"]);
  assertEquals([at.receiver.room(0), at.events], [null, []]);
  await at.finish(3, "stored");
  assertEquals(at.events, [{ type: "stored", digest, chunk: 3 }]);
});

Deno.test("ChunkReceiver takes a chunk on each stream, and tells which was corrupt", async () => {
  const at = scene();
  for (const stream of [1, 2]) at.receiver.begin({ stream, digest, chunk: stream });
  assertEquals([0, 1, 2].map((stream) => at.receiver.room(stream)?.[0]), [undefined, 1, 2]);
  for (const stream of [2, 1]) take(at, { stream, chunk: stream });
  await at.finish(1, "corrupt");
  await at.finish(2, "stored");
  assertEquals(at.events.map(({ type }) => type), ["corrupt", "stored"]);
});

Deno.test("ChunkReceiver lets go of a chunk that is of no use, or dropped", () => {
  const at = scene();
  at.store.isWanted = false;
  assertEquals([bring(at), at.log], [null, []]);
  at.store.isWanted = true;
  at.receiver.begin({ stream: 0, digest, chunk: 1 });
  at.receiver.drop(0);
  assertEquals([take(at, { chunk: 1 }), at.log], [null, ["discard 1"]]);
  for (const stream of [0, 4]) at.receiver.begin({ stream, digest, chunk: stream });
  at.receiver.dropAll();
  assertEquals(at.log, ["discard 1", "discard 0", "discard 4"]);
});

Deno.test("ChunkReceiver has the link wait for the disk, and for the limit", async () => {
  const disk = scene();
  const written = Promise.withResolvers<void>();
  disk.store.write = () => written.promise;
  disk.receiver.begin({ stream: 0, digest, chunk: 0 });
  const forDisk = take(disk, { bytes: 60, remaining: 40 });
  assert(await isPending(forDisk));
  written.resolve();
  assertEquals(await isPending(forDisk), false);

  const limited = scene();
  const letOn = limited.holdBack();
  const forLimit = bring(limited);
  assert(await isPending(forLimit));
  assertEquals(limited.log, [`write 0: ${length}`]);
  letOn();
  assertEquals(await isPending(forLimit), false);
  assertEquals(limited.log.at(-1), "finish 0");
});

for (
  const [size, bytes, most] of [["large", length, maxLarge], ["small", 100, maxSmall]] as const
) {
  Deno.test(`ChunkReceiver waits while ${most} ${size} chunks are being verified`, async () => {
    const at = scene();
    for (let chunk = 1; chunk < most; chunk++) assertEquals(bring(at, { chunk, bytes }), null);
    const other = size === "large" ? 100 : length;
    assertEquals(bring(at, { chunk: 1000, bytes: other }), null, "those of another size are apart");
    const waiting = bring(at, { chunk: most, bytes });
    assert(await isPending(waiting));
    await at.finish(2, "stored");
    assertEquals(await isPending(waiting), false);
    assertEquals(bring(at, { chunk: 2, bytes }) === null, false, "as many again");
  });
}

Deno.test("ChunkReceiver tells a disk that refuses, whenever it does, and drops the chunk", async () => {
  const full = new UserError("failed", "no space left on the disk");
  const opening = scene();
  opening.store.openError = full;
  assertEquals(bring(opening), null);
  assertEquals(opening.events, [{ type: "unstorable", digest, error: full }]);

  for (const isLate of [false, true]) {
    const writing = scene();
    writing.store.write = () => {
      if (isLate) return Promise.reject(full);
      throw full;
    };
    writing.receiver.begin({ stream: 0, digest, chunk: 0 });
    await take(writing, { bytes: 60, remaining: 40 });
    assertEquals(writing.events, [{ type: "unstorable", digest, error: full }]);
    assertEquals([writing.log.at(-1), writing.receiver.room(0)], ["discard 0", null]);
  }

  const verifying = scene();
  bring(verifying);
  await verifying.finish(0, new Error("it broke"));
  assertEquals(verifying.log.at(-1), "discard 0");
  const errors = verifying.events.flatMap((event) =>
    event.type === "unstorable" ? event.error : []
  );
  assertEquals(errors.map(({ code, message }) => [code, message]), [["failed", "it broke"]]);
});
