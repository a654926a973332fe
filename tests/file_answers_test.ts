import { assertEquals } from "@std/assert";
import { ProtocolError } from "../lib/errors.ts";
import { FileAnswers } from "../lib/file_answers.ts";
import { noProof } from "../lib/length_proof.ts";
import type { Manifest } from "../lib/manifest.ts";
import { encodePeerMessage, type PeerMessage } from "../lib/peer_messages.ts";
import { settle } from "./memory_network.ts";

const digest = new Uint8Array(32).fill(7);
const length = 3 * 256 * 1024;
const manifest: Manifest = { digest, length, name: "film", hashes: new Uint8Array(96) };
const proof = { leaves: new Uint8Array(32), block: Uint8Array.of(1, 2) };
const bitfield = { type: "bitfield", digest, length, held: null } as const;

interface Scene {
  answers: FileAnswers;
  here: { isHeld: boolean; hasLast: boolean; manifest: Manifest | null; isOpen: boolean };
  /** What was sent alone, without waiting. */
  sent: PeerMessage[];
  /** What was written, each time together. */
  writes: Uint8Array[][];
  lacking: Uint8Array[];
  failures: unknown[];
  /** Writes are taken, or fail, from here on; before that they wait. */
  letWrite(error?: Error): Promise<void>;
}

function scene(): Scene {
  const here: Scene["here"] = { isHeld: true, hasLast: true, manifest, isOpen: true };
  const sent: PeerMessage[] = [];
  const writes: Uint8Array[][] = [];
  const lacking: Uint8Array[] = [];
  const failures: unknown[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const answers = new FileAnswers({
    stream: {
      write: (...frames) => {
        writes.push(frames);
        return promise;
      },
    },
    store: { manifest: () => Promise.resolve(here.manifest) },
    holdings: {
      get: () => here.isHeld ? { length, held: null } : null,
      has: () => here.hasLast,
    },
    proofs: { of: () => Promise.resolve(proof), known: () => noProof },
    link: here,
    send: (message) => sent.push(message),
    onLacking: (digest) => lacking.push(digest),
    onFailed: (error) => failures.push(error),
  });
  const letWrite = (error?: Error) => {
    if (error) reject(error);
    else resolve();
    return settle();
  };
  return { answers, here, sent, writes, lacking, failures, letWrite };
}

Deno.test("FileAnswers sends the bitfield alone when nothing else is asked for", async () => {
  const { answers, sent, writes } = scene();
  answers.oweBitfield(digest);
  assertEquals(sent, []);
  await settle();
  assertEquals([sent, writes], [[bitfield], []]);
});

Deno.test("FileAnswers sends bitfield and manifest in one write when they are asked for together", async () => {
  const { answers, sent, writes } = scene();
  answers.oweBitfield(digest);
  answers.oweManifest(digest);
  await settle();
  const both = [bitfield, { type: "manifest", ...manifest, ...proof } as const];
  assertEquals([sent, writes], [[], [both.map(encodePeerMessage)]]);
});

Deno.test("FileAnswers sends one manifest after the other, as they are taken", async () => {
  const { answers, writes, letWrite } = scene();
  for (let count = 0; count < 3; count++) answers.oweManifest(digest);
  await settle();
  assertEquals(writes.length, 1);
  await letWrite();
  assertEquals(writes.length, 3);
});

Deno.test("FileAnswers passes on a proof that it knows when the last chunk isn't here", async () => {
  const { answers, here, writes } = scene();
  here.hasLast = false;
  answers.oweManifest(digest);
  await settle();
  assertEquals(writes, [[encodePeerMessage({ type: "manifest", ...manifest, ...noProof })]]);
});

Deno.test("FileAnswers says that it lacks a file, once, or its manifest", async () => {
  const nothing = scene();
  nothing.here.isHeld = false;
  nothing.answers.oweBitfield(digest);
  nothing.answers.oweManifest(digest);
  await settle();
  assertEquals([nothing.lacking, nothing.writes], [[digest], []]);
  nothing.answers.sendBitfield(digest);
  assertEquals(nothing.lacking.length, 2);

  const noManifest = scene();
  noManifest.here.manifest = null;
  noManifest.answers.oweManifest(digest);
  await settle();
  assertEquals([noManifest.lacking, noManifest.writes], [[digest], []]);
});

Deno.test("FileAnswers fails when more manifests are asked for than may wait to be taken", async () => {
  const { answers, failures } = scene();
  answers.oweManifest(digest);
  // It is on its way.
  await settle();
  for (let count = 0; count < 1024; count++) answers.oweManifest(digest);
  assertEquals(failures, []);
  answers.oweManifest(digest);
  const [error] = failures;
  assertEquals(error instanceof ProtocolError && error.code, "too-many-manifests");
});

Deno.test("FileAnswers tells of a write that fails, and writes nothing when the link has ended", async () => {
  const { answers, here, writes, failures, letWrite } = scene();
  answers.oweManifest(digest);
  answers.oweManifest(digest);
  await settle();
  here.isOpen = false;
  const error = new Error("cut");
  await letWrite(error);
  assertEquals([failures, writes.length], [[error], 1]);
});
