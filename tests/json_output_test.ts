import { assertEquals } from "@std/assert";
import type { DownloadStatus, PeerStatus } from "../lib/control.ts";
import {
  completeRecord,
  connectedRecord,
  fileRecord,
  holderRecord,
  jsonLine,
  progressRecord,
  readyRecord,
  statusRecord,
} from "../lib/json_output.ts";

const status: DownloadStatus = {
  digest: "ab",
  name: "f",
  length: 10,
  chunks: 4,
  have: 3,
  resumed: 1,
  state: "downloading",
  bytesPerSecond: 5,
  seconds: 2.5,
  sources: [{
    peer: "p",
    connected: true,
    via: "punched",
    chunks: 2,
    bytesPerSecond: 1,
    roundTripMs: 3,
  }],
  path: "d/f",
  error: null,
};

const peer: PeerStatus = {
  ...{ peer: "me", link: "p2p://x", address: null, tracker: "connecting", trackerVia: null },
  ...{ files: 1, bytes: 2, incomplete: 0, downloads: [status], uploads: [] },
};

const rows: [name: string, record: object, line: string][] = [
  [
    "list row",
    fileRecord(
      { digest: "ab", name: "n", length: 1, chunks: 2, seeders: 3, leechers: 4, extra: 5 } as never,
    ),
    '{"digest":"ab","name":"n","length":1,"chunks":2,"seeders":3,"leechers":4}',
  ],
  [
    "peers row",
    holderRecord(
      { peer: "p", address: "1.2.3.4:5", chunks: 6, complete: false, extra: 7 } as never,
    ),
    '{"peer":"p","address":"1.2.3.4:5","chunks":6,"complete":false}',
  ],
  [
    "ready event",
    readyRecord(peer),
    '{"event":"ready","peer":"me","link":"p2p://x","address":null}',
  ],
  [
    "progress event",
    progressRecord(status),
    '{"event":"progress","digest":"ab","chunks":4,"have":3,"bytesPerSecond":5}',
  ],
  [
    "connected event of a direct path",
    connectedRecord(
      {
        ...{ peer: "p", via: "punched", transport: "quic", address: "1.2.3.4:5" },
        ...{ milliseconds: 41.26, replaces: "relayed", extra: 6 },
      } as never,
    ),
    '{"event":"connected","peer":"p","via":"punched","transport":"quic","address":"1.2.3.4:5",' +
    '"milliseconds":41.3,"replaces":"relayed"}',
  ],
  [
    "connected event of a relayed path",
    connectedRecord({
      ...{ peer: "p", via: "relayed", transport: "tcp", address: "1.2.3.4:5" },
      ...{ milliseconds: 400, replaces: null, whyRelayed: "no UDP" },
    }),
    '{"event":"connected","peer":"p","via":"relayed","transport":"tcp","address":"1.2.3.4:5",' +
    '"milliseconds":400,"replaces":null,"whyRelayed":"no UDP"}',
  ],
  [
    "complete event",
    completeRecord(status),
    '{"event":"complete","digest":"ab","path":"d/f","length":10,"seconds":2.5,' +
    '"sources":[{"peer":"p","via":"punched","chunks":2}]}',
  ],
];

for (const [name, record, line] of rows) {
  Deno.test(`the ${name} has the fields of the contract and no other`, () => {
    assertEquals(jsonLine(record), line);
  });
}

Deno.test("statusRecord() has the peer's own facts and its downloads", () => {
  const record = statusRecord(peer);
  assertEquals([record.event, record.peer, record.tracker], ["status", "me", "connecting"]);
  assertEquals(record.downloads[0]?.sources[0]?.via, "punched");
});

Deno.test("jsonLine() escapes whatever a terminal might obey, and keeps its meaning", () => {
  const name = "a\x1b[31m\x7f\x9b\u2028\u202e\nb";
  const line = jsonLine({ name });
  const raw = [...line].filter((character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x2028 && code <= 0x202e);
  });
  assertEquals(raw, []);
  assertEquals(JSON.parse(line), { name });
});
