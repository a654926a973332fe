import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ipToText, type SocketAddress } from "../lib/address.ts";
import {
  maxChunksPerHave,
  maxFileBytes,
  maxNameBytes,
  maxNamesPerFile,
  maxTrackerFrameBytes,
} from "../lib/constants.ts";
import { ProtocolError } from "../lib/errors.ts";
import { frameHeaderBytes } from "../lib/frames.ts";
import {
  type AnnouncedFile,
  announcedFileBytes,
  batchAnnouncements,
  decodeTrackerRequest,
  decodeTrackerResponse,
  encodeTrackerRequest,
  encodeTrackerResponse,
  type ListedRow,
  maxDigestsPerWithdraw,
  maxFilesPerAnnounce,
  maxHolders,
  maxHosts,
  maxListedItems,
  maxPageBytes,
  type TrackerRequest,
  type TrackerResponse,
} from "../lib/tracker_messages.ts";
import {
  checkGoldenRow,
  checkRandomBytes,
  fromHex,
  type GoldenRow,
  type Language,
} from "./golden.ts";

const requests: Language<TrackerRequest> = {
  encode: encodeTrackerRequest,
  decode: decodeTrackerRequest,
  limits: { maxFrameBytes: maxTrackerFrameBytes },
};

const responses: Language<TrackerResponse> = {
  encode: encodeTrackerResponse,
  decode: decodeTrackerResponse,
  limits: { maxFrameBytes: maxTrackerFrameBytes },
};

const digest = fromHex("11*32");
const peer = fromHex("22*32");
const token = fromHex("33*16");
const address: SocketAddress = { ip: "203.0.113.7", port: 40_000 };

const goldenRequests: GoldenRow<TrackerRequest>[] = [
  {
    name: "no hosts",
    value: { type: "join", listenPort: 0, hosts: [], nat: "unknown" },
    hex: "00000006 10 0000 0000 00",
  },
  {
    name: "the largest file, under an empty name",
    value: {
      type: "announce",
      files: [{ digest, length: maxFileBytes, names: [""], held: fromHex("ff*8192") }],
    },
    hex: "00002032 11 0001 11*32 0000010000000000 0001 0000 01 2000 ff*8192",
  },
  {
    name: "an empty have",
    value: { type: "have", digest, chunks: [] },
    hex: "00000023 12 11*32 0000",
  },
  {
    name: "probing from the last port",
    value: { type: "probing", token, port: 65_535 },
    hex: "00000013 1a 33*16 ffff",
  },
];

const goldenResponses: GoldenRow<TrackerResponse>[] = [
  {
    name: "an empty page",
    value: {
      type: "listing",
      request: 0,
      epoch: 1,
      reset: false,
      rows: [],
      removed: [],
      next: 0,
      more: true,
    },
    hex: "0000001f 21 00*8 00*7 01 00 0000 0000 00*8 01",
  },
  {
    name: "an introduction of somebody without candidates",
    value: {
      type: "introduction",
      request: 0,
      initiator: false,
      token,
      digest,
      peer,
      nat: "dependent-sequential",
      candidates: [],
    },
    hex: "0000005d 23 00*8 00 33*16 11*32 22*32 03 0000",
  },
  {
    name: "observed over IPv6",
    value: {
      type: "joined",
      observed: { ip: "::1", port: 1 },
      heartbeatMs: 1,
      probePort: 0,
      echoPort: 0,
    },
    hex: "0000001c 20 10 00*15 01 0001 00000001 0000 0000",
  },
  {
    name: "probing over IPv6",
    value: { type: "probing", token, address: { ip: "2001:db8::1", port: 7401 } },
    hex: "00000024 28 33*16 10 20010db8 00*11 01 1ce9",
  },
];

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const digests = bytesOf(32);
const tokens = bytesOf(16);
const numbers = fc.maxSafeNat();
const ports = fc.nat(65_535);
const names = fc.string({ unit: "binary", maxLength: 60 });
const lengths = fc.integer({ min: 0, max: maxFileBytes });
const nats = fc.constantFrom("unknown" as const, "open" as const, "dependent-random" as const);
const addresses: fc.Arbitrary<SocketAddress> = fc.record({
  ip: fc.oneof(bytesOf(4), bytesOf(16)).map(ipToText),
  port: ports,
});
const files: fc.Arbitrary<AnnouncedFile> = fc.record({
  digest: digests,
  length: lengths,
  names: fc.array(names, { minLength: 1, maxLength: maxNamesPerFile }),
  held: fc.option(fc.uint8Array({ maxLength: 300, size: "max" })),
});

const anyRequest: fc.Arbitrary<TrackerRequest> = fc.oneof(
  fc.record({
    type: fc.constant("join" as const),
    listenPort: ports,
    hosts: fc.array(addresses, { maxLength: maxHosts }),
    nat: nats,
  }),
  fc.record({ type: fc.constant("announce" as const), files: fc.array(files) }),
  fc.record({
    type: fc.constant("have" as const),
    digest: digests,
    chunks: fc.array(fc.nat(65_535)),
  }),
  fc.record({ type: fc.constant("withdraw" as const), digests: fc.array(digests) }),
  fc.record({
    type: fc.constant("list" as const),
    request: numbers,
    epoch: numbers,
    since: numbers,
    limit: fc.nat(2 ** 31),
  }),
  fc.record({
    type: fc.constant("introduce" as const),
    request: numbers,
    digest: digests,
    peer: digests,
  }),
);

const anyResponse: fc.Arbitrary<TrackerResponse> = fc.oneof(
  fc.record({
    type: fc.constant("listing" as const),
    request: numbers,
    epoch: numbers,
    reset: fc.boolean(),
    rows: fc.array(fc.record({
      digest: digests,
      name: names,
      length: lengths,
      seeders: fc.nat(),
      leechers: fc.nat(),
    })),
    removed: fc.array(fc.record({ digest: digests, name: names })),
    next: numbers,
    more: fc.boolean(),
  }),
  fc.record({
    type: fc.constant("holders" as const),
    request: numbers,
    holders: fc.array(fc.record({
      peer: digests,
      address: addresses,
      chunks: fc.nat(65_536),
      complete: fc.boolean(),
    })),
  }),
  fc.record({
    type: fc.constant("introduction" as const),
    request: numbers,
    initiator: fc.boolean(),
    token: tokens,
    digest: digests,
    peer: digests,
    nat: nats,
    candidates: fc.array(fc.record({
      kind: fc.constantFrom("tcp" as const, "host" as const, "reflexive" as const),
      address: addresses,
    })),
  }),
);

function row(name: string): ListedRow {
  return { digest, name, length: maxFileBytes, seeders: 1, leechers: 1 };
}

function listing(rows: ListedRow[]): TrackerResponse {
  return {
    type: "listing",
    request: 1,
    epoch: 1,
    reset: true,
    rows,
    removed: [],
    next: 1,
    more: false,
  };
}

function file(nameCount: number, nameBytes: number, heldBytes: number): AnnouncedFile {
  return {
    digest,
    length: 1,
    names: Array.from({ length: nameCount }, () => "n".repeat(nameBytes)),
    held: heldBytes > 0 ? new Uint8Array(heldBytes) : null,
  };
}

function fill<T>(count: number, value: T): T[] {
  return Array.from({ length: count }, () => value);
}

Deno.test("tracker requests agree with their golden bytes", () => {
  for (const each of goldenRequests) checkGoldenRow(each, requests);
});

Deno.test("tracker responses agree with their golden bytes", () => {
  for (const each of goldenResponses) checkGoldenRow(each, responses);
});

Deno.test("tracker messages come back whatever they hold", () => {
  fc.assert(fc.property(anyRequest, (message) => {
    const frame = encodeTrackerRequest(message);
    assertEquals(decodeTrackerRequest(frame[4] ?? 0, frame.subarray(frameHeaderBytes)), message);
  }));
  fc.assert(fc.property(anyResponse, (message) => {
    const frame = encodeTrackerResponse(message);
    assertEquals(decodeTrackerResponse(frame[4] ?? 0, frame.subarray(frameHeaderBytes)), message);
  }));
});

Deno.test("tracker decoders give a message or ProtocolError whatever the bytes", () => {
  checkRandomBytes(requests, goldenRequests.filter(({ hex }) => fromHex(hex).length < 1000));
  checkRandomBytes(responses, goldenResponses);
});

Deno.test("a peer doesn't understand requests, nor a tracker responses", () => {
  const request = encodeTrackerRequest({ type: "goodbye" });
  const response = encodeTrackerResponse({ type: "goodbye" });
  assertThrows(() => decodeTrackerResponse(request[4] ?? 0, new Uint8Array()), ProtocolError);
  assertThrows(() => decodeTrackerRequest(response[4] ?? 0, new Uint8Array()), ProtocolError);
});

Deno.test("decoders throw ProtocolError when a field is outside of its limits", () => {
  const file = "11*32 0000000000000001";
  const wrongRequests = [
    { why: "17 hosts", hex: "10 0001 0011 " + "04 01020304 0001 ".repeat(17) + "00" },
    { why: "a class of NAT that isn't", hex: "10 0001 0000 05" },
    { why: "an IP address of 5 bytes", hex: "10 0001 0001 05 0102030405 0001 00" },
    {
      why: "IPv4 written as IPv6",
      hex: "10 0001 0001 10 00*10 ffff 01020304 0001 00",
    },
    { why: "more files than may be", hex: "11 1001" + ` ${file} 0001 0000 00`.repeat(4097) },
    { why: "a file too large", hex: "11 0001 11*32 0000010000000001 0001 0000 00" },
    { why: "a file without names", hex: `11 0001 ${file} 0000 00` },
    { why: "17 names", hex: `11 0001 ${file} 0011 00*34 00` },
    { why: "a name too long", hex: `11 0001 ${file} 0001 0401 61*1025 00` },
    { why: "a name that isn't UTF-8", hex: `11 0001 ${file} 0001 0001 ff 00` },
    { why: "a bitfield too long", hex: `11 0001 ${file} 0001 0000 01 2001 00*8193` },
    { why: "neither null nor not", hex: `11 0001 ${file} 0001 0000 02` },
    { why: "more chunks than may be", hex: "12 11*32 1001" + "00000000".repeat(4097) },
    { why: "a chunk that no file has", hex: "12 11*32 0001 00010000" },
    { why: "more digests than may be", hex: "13 1001" + " 11*32".repeat(4097) },
    { why: "a count of what isn't there", hex: "13 0002 11*32" },
    { why: "a number over 2^53", hex: "18 0020000000000000" },
  ];
  const wrongResponses = [
    { why: "a failure that isn't", hex: "26 00*8 04 0000" },
    { why: "a text too long", hex: "26 00*8 00 0201 61*513" },
    {
      why: "65 candidates",
      hex: "23 00*8 00 33*16 11*32 22*32 00 0041" + " 00 04 01020304 0001".repeat(65),
    },
    {
      why: "a candidate of no kind",
      hex: "23 00*8 00 33*16 11*32 22*32 00 0001 03 04 01020304 0001",
    },
    { why: "too many chunks", hex: "22 00*8 0001 22*32 04 01020304 0001 00010001 00" },
    {
      why: "more rows than may be",
      hex: "21 00*16 00 1001" + " 00*50".repeat(4097) + " 0000 00*9",
    },
  ];
  for (const { why, hex } of wrongRequests) refuses(decodeTrackerRequest, why, hex);
  for (const { why, hex } of wrongResponses) refuses(decodeTrackerResponse, why, hex);

  function refuses(decode: Language<unknown>["decode"], why: string, hex: string): void {
    const bytes = fromHex(hex);
    const error = assertThrows(
      () => decode(bytes[0] ?? 0, bytes.subarray(1)),
      ProtocolError,
      undefined,
      why,
    );
    assertEquals(error.code, "malformed", why);
  }
});

Deno.test("encoders throw RangeError when a field is outside of its limits", () => {
  const wrongRequests: TrackerRequest[] = [
    { type: "join", listenPort: 65_536, hosts: [], nat: "open" },
    { type: "join", listenPort: 1, hosts: fill(maxHosts + 1, address), nat: "open" },
    { type: "join", listenPort: 1, hosts: [{ ip: "fe80::1%eth0", port: 1 }], nat: "open" },
    { type: "announce", files: [file(0, 1, 0)] },
    { type: "announce", files: [file(17, 1, 0)] },
    { type: "announce", files: [file(1, maxNameBytes + 1, 0)] },
    { type: "announce", files: [file(1, 1, 8193)] },
    { type: "announce", files: [{ ...file(1, 1, 0), length: maxFileBytes + 1 }] },
    { type: "announce", files: fill(maxFilesPerAnnounce + 1, file(1, 1, 0)) },
    { type: "announce", files: fill(300, file(1, maxNameBytes, 0)) },
    { type: "have", digest, chunks: [65_536] },
    { type: "have", digest, chunks: [-1] },
    { type: "have", digest, chunks: fill(maxChunksPerHave + 1, 0) },
    { type: "have", digest: new Uint8Array(31), chunks: [] },
    { type: "withdraw", digests: fill(maxDigestsPerWithdraw + 1, digest) },
    { type: "heartbeat", sent: 1.5 },
    { type: "relay", request: 1, token: new Uint8Array(15) },
    { type: "probing", token: new Uint8Array(15), port: 1 },
    { type: "probing", token, port: 65_536 },
  ];
  for (const message of wrongRequests) {
    assertThrows(() => encodeTrackerRequest(message), RangeError, undefined, message.type);
  }
  const rows = fill(maxListedItems, row("x".repeat(200)));
  assertThrows(() => encodeTrackerResponse(listing(rows)), RangeError);
});

Deno.test("what may be counted up to its limit fits a frame", () => {
  const holder = { peer, address: { ip: "2001:db8::1", port: 1 }, chunks: 1, complete: false };
  const frames = [
    encodeTrackerRequest({ type: "have", digest, chunks: fill(maxChunksPerHave, 65_535) }),
    encodeTrackerRequest({ type: "withdraw", digests: fill(maxDigestsPerWithdraw, digest) }),
    encodeTrackerRequest({ type: "announce", files: [file(maxNamesPerFile, maxNameBytes, 8192)] }),
    encodeTrackerResponse({ type: "holders", request: 1, holders: fill(maxHolders, holder) }),
    encodeTrackerResponse(listing(fill(maxListedItems, row("12 bytes 100")))),
  ];
  for (const frame of frames) assert(frame.length <= maxTrackerFrameBytes + 4);
});

Deno.test("a page of maxPageBytes fills a frame to the last byte", () => {
  const emptyRowBytes = 50;
  const names = Math.floor(maxPageBytes / (emptyRowBytes + maxNameBytes));
  const rest = maxPageBytes - names * (emptyRowBytes + maxNameBytes);
  const full = fill(names, row("n".repeat(maxNameBytes)));
  const last = row("n".repeat(rest - emptyRowBytes));
  const frame = encodeTrackerResponse(listing([...full, last]));
  assertEquals(frame.length, maxTrackerFrameBytes + 4);
  assertThrows(
    () => encodeTrackerResponse(listing([...full, { ...last, name: last.name + "n" }])),
    RangeError,
  );
});

Deno.test("announcedFileBytes() is what a file adds to an announce", () => {
  const empty = encodeTrackerRequest({ type: "announce", files: [] }).length;
  fc.assert(fc.property(files, (file) => {
    const frame = encodeTrackerRequest({ type: "announce", files: [file] });
    assertEquals(announcedFileBytes(file), frame.length - empty);
  }));
});

Deno.test("batchAnnouncements() keeps every file in order, in as few announces as fit", () => {
  const sizes = fc.record({
    count: fc.nat(60),
    names: fc.integer({ min: 1, max: maxNamesPerFile }),
    nameBytes: fc.nat(maxNameBytes),
    heldBytes: fc.nat(8192),
  });
  fc.assert(
    fc.property(fc.array(sizes, { maxLength: 6 }), (sizes) => {
      const files = sizes.flatMap(({ count, names, nameBytes, heldBytes }) =>
        fill(count, file(names, nameBytes, heldBytes))
      );
      const batches = batchAnnouncements(files);
      assertEquals(batches.flat().length, files.length);
      assert(batches.flat().every((each, index) => each === files[index]));
      for (const batch of batches) encodeTrackerRequest({ type: "announce", files: batch });
      for (const [index, batch] of batches.slice(1).entries()) {
        const longer = [...batches[index] ?? [], ...batch.slice(0, 1)];
        assertThrows(() => encodeTrackerRequest({ type: "announce", files: longer }), RangeError);
      }
    }),
    { numRuns: 30 },
  );
});

Deno.test("batchAnnouncements() fills an announce to the last byte", () => {
  const largest = file(1, maxNameBytes, 0);
  const most = fill(Math.floor(maxTrackerFrameBytes / announcedFileBytes(largest)), largest);
  const used = encodeTrackerRequest({ type: "announce", files: most }).length;
  const rest = maxTrackerFrameBytes + 4 - used - announcedFileBytes(file(1, 0, 0));
  const exact = [...most, file(1, rest, 0)];
  const tooLarge = [...most, file(1, rest + 1, 0)];
  assertEquals(batchAnnouncements(exact).map((batch) => batch.length), [exact.length]);
  assertEquals(batchAnnouncements(tooLarge).map((batch) => batch.length), [most.length, 1]);
});

Deno.test("batchAnnouncements() gives no batch for no file and parts many small ones", () => {
  assertEquals(batchAnnouncements([]), []);
  const batches = batchAnnouncements(fill(10_000, file(1, 1, 0)));
  assertEquals(batches.map((batch) => batch.length), [4096, 4096, 1808]);
});
