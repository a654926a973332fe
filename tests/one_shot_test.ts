import { assert, assertEquals } from "@std/assert";
import type { PathInUse } from "../lib/control.ts";
import { exitCode, UserError } from "../lib/errors.ts";
import type { Prompt } from "../lib/own_peer.ts";
import type { Output } from "../lib/output.ts";
import type { PeerFactory, RunningPeer } from "../lib/peer_factory.ts";
import {
  chunkEveryMs,
  FakeFactory,
  fakeLink,
  fakePeerId,
  fatePrefixes,
  invoke,
  KeptOutput,
  listedFile,
} from "./fake_peer.ts";
import { VirtualClock } from "./memory_network.ts";

const good = listedFile("abcdef1", "good file.txt", 4);
const other = listedFile("abcdef2", "other.txt", 2);
const failing = listedFile(fatePrefixes.fails, "failing.txt");
const unreachable = listedFile(fatePrefixes.unreachable, "unreachable.txt");
const stalled = listedFile(fatePrefixes.stalls, "stalled.txt");
const tracked = "--tracker p2p://t";

function stage(files = [good, other, failing, unreachable, stalled]) {
  const clock = new VirtualClock();
  const factory = new FakeFactory(files, clock);
  const output = new KeptOutput();
  const stopping = new AbortController();
  const options = { clock, factory, output, stopping };
  const run = (line: string) => clock.run(invoke(line, options));
  return { ...options, run };
}

Deno.test("list prints a table of what the tracker has, and starts no peer", async () => {
  const { run, output, factory } = stage();
  assertEquals(await run(`${tracked} list`), exitCode.done);
  const lines = output.printed.join("\n").split("\n");
  assertEquals(lines[0], "digest        size  chunks  seeders  leechers  name");
  assertEquals(lines[1], "abcdef10  1.00 MiB       4        2         1  good file.txt");
  assertEquals([factory.starts.length, factory.visits.length, factory.closedVisits], [0, 1, 1]);
});

Deno.test("list --json prints the records of the contract", async () => {
  const { run, output } = stage();
  assertEquals(await run(`${tracked} --json list`), exitCode.done);
  assertEquals(output.records[0], { ...good });
  assertEquals(output.records.length, 5);
});

Deno.test("list says so when there is nothing", async () => {
  const { run, output } = stage([]);
  assertEquals(await run(`${tracked} list`), exitCode.done);
  assertEquals([output.printed, output.noted], [[], ["no files on the tracker yet"]]);
});

Deno.test("what needs a tracker says so when there is none", async () => {
  for (const line of ["list", "peers abcdef", "get x", "doctor"]) {
    const { run, output } = stage();
    assertEquals(await run(line), exitCode.usage, line);
    assertEquals(output.noted[0], `peer: error: ${line.split(" ")[0]} needs a tracker`);
    assertEquals(output.noted.length, 2, "error and hint");
  }
});

Deno.test("a tracker that can't be reached ends with its own exit code and hint", async () => {
  for (const command of ["list", "share", "get x", ""]) {
    const { run, output, factory } = stage();
    factory.failure = new UserError("unreachable", "cannot reach p2p://h:1/K#secret", "is it on?");
    assertEquals(await run(`${tracked} ${command}`), exitCode.unreachable);
    const said = ["peer: error: cannot reach p2p://h:1/K#***", "peer: hint: is it on?"];
    assertEquals(output.noted, said);
  }
});

Deno.test("an unforeseen error is one line without a trace", async () => {
  const { run, output, factory } = stage();
  factory.failure = new TypeError("two\nlines");
  assertEquals(await run(`${tracked} list`), exitCode.failed);
  assertEquals(output.noted, ["peer: error: two\\nlines"]);
});

Deno.test("peers prints who has chunks, found by prefix", async () => {
  const { run, output } = stage();
  assertEquals(await run(`${tracked} peers abcdef1`), exitCode.done);
  const lines = output.printed.join("\n").split("\n");
  assert(lines[1]?.endsWith("4 of 4  complete"), lines[1]);
  assert(lines[2]?.includes("[2001:db8::1]:9"), lines[2]);
  const json = stage();
  await json.run(`${tracked} --json peers abcdef1`);
  assertEquals(Object.keys(json.output.records[1] ?? {}), [
    "peer",
    "address",
    "chunks",
    "complete",
  ]);
});

Deno.test("peers and get tell an unknown from an ambiguous file", async () => {
  for (const command of ["peers", "get"]) {
    const { run, factory } = stage();
    assertEquals(await run(`${tracked} ${command} nothing`), exitCode.notFound);
    assertEquals(await run(`${tracked} ${command} abcdef`), exitCode.usage);
    assertEquals(factory.peer.downloads.size, 0);
  }
});

Deno.test("get downloads, tells where the file is, and says goodbye", async () => {
  const { run, output, factory } = stage();
  assertEquals(await run(`${tracked} get other.txt`), exitCode.done);
  assertEquals(output.printed, [
    "other.txt  512 KiB, 1.0 s, 512 KiB/s, 2 sources: 1 tcp, 1 quic",
  ]);
  assertEquals(factory.peer.quits, 1);
});

Deno.test("get --json prints ready, progress and complete", async () => {
  const { run, output } = stage();
  assertEquals(await run(`${tracked} --json get abcdef1`), exitCode.done);
  const { records } = output;
  assertEquals(records[0], {
    event: "ready",
    peer: fakePeerId,
    link: fakeLink,
    address: "203.0.113.9:7000",
  });
  const progress = records.filter((record) => record["event"] === "progress");
  const steps = progress.map((record) => record["have"]);
  assertEquals(steps, [0, 1, 2, 3]);
  const last = records.at(-1);
  assertEquals([last?.["event"], last?.["path"]], ["complete", "good file.txt"]);
  assertEquals(last?.["sources"], [
    { peer: "alphaalphaalpha", via: "tcp", chunks: 3 },
    { peer: "betabetabetabeta", via: "quic", chunks: 1 },
  ]);
});

Deno.test("get --json tells of the first chunk at once, and of the others four times a second", async () => {
  const { run, output, clock } = stage();
  let toldAt = 0;
  const print = output.print.bind(output);
  output.print = (text) => {
    if (text.includes('"have":1')) toldAt ||= clock.now();
    print(text);
  };
  await run(`${tracked} --json get abcdef1`);
  assert(toldAt >= chunkEveryMs && toldAt <= chunkEveryMs + 10, `told after ${toldAt} ms`);
  const progress = output.records.filter((record) => record["event"] === "progress");
  assertEquals(progress.length <= 1 + 4 * (4 * chunkEveryMs / 1000), true);
});

const path: PathInUse = {
  ...{ peer: "p", via: "punched", transport: "quic", address: "198.51.100.7:4" },
  ...{ milliseconds: 20, replaces: null },
};

Deno.test("get and share tell scripts of every path, after ready, and nobody else", async () => {
  for (const command of ["share", `${tracked} get abcdef1`]) {
    const { run, output, factory, stopping, clock } = stage();
    clock.setTimer(100, () => factory.peer.tellConnected(path));
    clock.setTimer(5_000, () => stopping.abort());
    await run(`--json ${command}`);
    const events = output.records.map((record) => record["event"]);
    assertEquals(events.slice(0, 2), ["ready", "connected"], command);
    assertEquals(output.records[1], { event: "connected", ...path });
    const plain = stage();
    plain.clock.setTimer(100, () => plain.factory.peer.tellConnected(path));
    plain.clock.setTimer(5_000, () => plain.stopping.abort());
    await plain.run(command);
    assertEquals(plain.output.printed.filter((line) => line.includes("198.51")), []);
  }
});

Deno.test("a path that comes into use when nobody reads any more is no fault", async () => {
  const { run, output, factory, stopping, clock } = stage();
  output.linesUntilClosed = 1;
  clock.setTimer(100, () => factory.peer.tellConnected(path));
  assertEquals(await run("--json share"), exitCode.done);
  assertEquals([clock.now(), stopping.signal.aborted], [100, true]);
});

Deno.test("get starts nothing when one of several files isn't there", async () => {
  const { run, factory } = stage();
  assertEquals(await run(`${tracked} get other.txt nothing`), exitCode.notFound);
  assertEquals(factory.peer.downloads.size, 0);
  assertEquals(factory.peer.quits, 1);
});

Deno.test("get of several files ends with the code of one that failed, after all have ended", async () => {
  const { run, output } = stage();
  assertEquals(await run(`${tracked} get failing.txt abcdef1`), exitCode.failed);
  assertEquals(output.printed.length, 1);
  assert(output.noted.includes("peer: error: cannot download failing.txt: the disk is full"));
});

Deno.test("get ends with code 4 when no peer can be reached", async () => {
  const { run } = stage();
  assertEquals(await run(`${tracked} get unreachable.txt`), exitCode.unreachable);
});

Deno.test("get draws its downloads in place on a terminal, and removes them at the end", async () => {
  const { run, output } = stage();
  output.isLive = true;
  await run(`${tracked} get other.txt`);
  assert(output.drawn.some((lines) => lines[0]?.includes("50%")), "half-way is missing");
  assertEquals(output.drawn.at(-1), []);
});

Deno.test("get writes a line every few seconds into a log", async () => {
  const slow = listedFile("abcdef9", "slow.txt", 41);
  const { run, output } = stage([slow]);
  await run(`${tracked} get slow.txt`);
  const lines = output.noted.filter((line) => line.startsWith("slow.txt: "));
  assertEquals(lines.length, Math.floor(41 * chunkEveryMs / 5_000));
  assert(lines[0]?.includes("2 sources: 1 tcp, 1 quic"), lines[0]);
});

Deno.test("get of many files writes one line for all of them into a log", async () => {
  const files = Array.from(
    { length: 30 },
    (_, index) => listedFile(`abcde${100 + index}`, `many/${index}`, 41),
  );
  const { run, output } = stage(files);
  assertEquals(await run(`${tracked} get many/`), exitCode.done);
  const lines = output.noted.filter((line) => /, \d/.test(line));
  assertEquals(lines.length, 2 * Math.floor(41 * chunkEveryMs / 5_000));
  assert(lines[0]?.startsWith("30 downloads, 14 queued: "), lines[0]);
});

Deno.test("get that is stopped says that the chunks stay, and goodbye", async () => {
  const { run, output, factory, stopping, clock } = stage();
  clock.setTimer(10_000, () => stopping.abort());
  assertEquals(await run(`${tracked} get stalled.txt`), exitCode.failed);
  assertEquals(output.noted.slice(-2), [
    "peer: info: stalled.txt: 0 of 4 chunks stay, the next get goes on from there",
    "peer: stopped",
  ]);
  assertEquals(factory.peer.quits, 1);
  assertEquals(clock.pending, 1, "only the fake download's own timer is left");
});

Deno.test("get --seed goes on sharing until it is stopped", async () => {
  const { run, output, stopping, clock } = stage();
  clock.setTimer(60_000, () => stopping.abort());
  assertEquals(await run(`${tracked} get other.txt --seed`), exitCode.done);
  assertEquals(clock.now() >= 60_000, true);
  assertEquals(output.printed.length, 1);
});

Deno.test("share prints the join link, shares until stopped and says goodbye", async () => {
  const { run, output, factory, stopping, clock } = stage();
  clock.setTimer(5_000, () => stopping.abort());
  assertEquals(await run("--dir d share"), exitCode.done);
  assertEquals(output.printed, ["sharing d: 2 files, 3.00 MiB", `join link: ${fakeLink}`]);
  assertEquals([factory.peer.quits, clock.pending], [1, 0]);
  const json = stage();
  json.clock.setTimer(5_000, () => json.stopping.abort());
  await json.run("--json share");
  assertEquals(json.output.records.map((record) => record["event"]), ["ready"]);
});

Deno.test("share draws the uploads on a terminal", async () => {
  const { run, output, stopping, clock } = stage();
  output.isLive = true;
  clock.setTimer(5_000, () => stopping.abort());
  await run("share");
  assert(output.drawn.some((lines) => lines[0] === "uploading to 1 peer, 1.00 KiB/s"));
  assertEquals(output.drawn.at(-1), []);
});

Deno.test("notices are lines of a log with --json", async () => {
  const { run, output } = stage();
  await run(`${tracked} --json get other.txt`);
  assertEquals(JSON.parse(output.noted[0] ?? ""), {
    time: new Date(new VirtualClock().wallTime()).toISOString(),
    level: "warning",
    text: "a chunk is damaged:\nset aside",
  });
});

Deno.test("notices come as warnings of one line", async () => {
  const { run, output } = stage();
  await run(`${tracked} get other.txt`);
  assertEquals(output.noted, ["peer: warning: a chunk is damaged:\\nset aside"]);
});

Deno.test("a goodbye that takes too long is not waited for", async () => {
  const { run, factory, clock } = stage();
  factory.peer.quit = () => new Promise(() => {});
  assertEquals(await run(`${tracked} get other.txt`), exitCode.done);
  assert(clock.now() < 10_000);
});

Deno.test("a peer that is stopped while it starts says goodbye when it has started", async () => {
  const { factory, output, stopping, clock } = stage();
  const started = Promise.withResolvers<FakeFactory["peer"]>();
  const slow: PeerFactory["start"] = () => started.promise;
  factory.start = slow;
  const ended = invoke("share", { factory, output, clock, stopping });
  stopping.abort();
  clock.setTimer(1_000, () => started.resolve(factory.peer));
  assertEquals(await clock.run(ended), exitCode.failed);
  assertEquals([factory.peer.quits, output.noted.at(-1)], [1, "peer: stopped"]);
});

Deno.test("a reader that has gone ends everything quietly", async () => {
  for (const line of [`${tracked} list`, `${tracked} --json get abcdef1`, "share", "digest a b"]) {
    for (const allowed of [0, 1]) {
      if (allowed === 1 && line.includes("list")) continue;
      const { run, output, clock, stopping } = stage();
      output.linesUntilClosed = allowed;
      clock.setTimer(60_000, () => stopping.abort());
      const code = await run(line);
      const said = output.noted.filter((text) => !text.includes("a chunk is damaged"));
      assertEquals([said, code], [[], exitCode.done], line);
    }
  }
});

Deno.test("digest prints digest, length and name", async () => {
  const { run, output } = stage();
  assertEquals(await run("digest one three"), exitCode.done);
  assertEquals(output.printed, [`${"ab".repeat(32)}  3  one`, `${"ab".repeat(32)}  5  three`]);
  const json = stage();
  await json.run("--json digest one");
  assertEquals(json.output.records, [{ digest: "ab".repeat(32), length: 3, name: "one" }]);
  assertEquals(await json.run("digest missing one"), exitCode.failed);
  assert(json.output.printed[1]?.endsWith("  one"), "the one after it is digested all the same");
});

Deno.test("verify names what is damaged and fails", async () => {
  const { run, output, factory } = stage();
  assertEquals(await run("verify"), exitCode.done);
  factory.damages = [{ path: "a\nb", problem: "content differs from the index" }];
  assertEquals(await run("verify"), exitCode.failed);
  assertEquals(output.printed, [
    "checked 2 files, 3 chunks, 4.00 KiB: all as they should be",
    "a\\nb: content differs from the index",
    "checked 2 files, 3 chunks, 4.00 KiB: 1 damaged or missing",
  ]);
  assertEquals(await run("--json verify"), exitCode.failed);
});

Deno.test("doctor's exit code tells a lost tracker from a bad port", async () => {
  const { run, output, factory } = stage();
  factory.checks = [
    { check: "tracker-quic", outcome: "bad", detail: "no answer in 5 s" },
    { check: "tracker-tcp", outcome: "good", detail: "3 ms" },
  ];
  assertEquals(await run(`${tracked} doctor`), exitCode.done);
  assertEquals(output.printed[0], "no  tracker over quic  no answer in 5 s");
  assertEquals(output.printed.at(-1), "\nnothing has to be done", "TCP is there");
  factory.checks = [{ check: "listen-port", outcome: "bad", detail: "in use" }];
  assertEquals(await run(`${tracked} doctor`), exitCode.failed);
  assertEquals(output.printed.at(-2), "\nwhat to do:");
  assert(output.printed.at(-1)?.startsWith("  - choose another port"));
  factory.checks = [
    { check: "tracker-quic", outcome: "bad", detail: "" },
    { check: "tracker-tcp", outcome: "bad", detail: "" },
  ];
  assertEquals(await run(`${tracked} --json doctor`), exitCode.unreachable);
});

Deno.test("help and version need nothing", async () => {
  const { run, output, factory } = stage();
  for (const line of ["--help", "help get", "--version", "get --help"]) {
    assertEquals(await run(line), exitCode.done);
  }
  assertEquals(output.printed[1], output.printed[3]);
  assert(output.printed[0]?.startsWith("peer - share a directory"));
  assertEquals([factory.starts.length, factory.visits.length, output.noted.length], [0, 0, 0]);
});

Deno.test("peer without a command opens the prompt on a started peer, and says goodbye", async () => {
  const { factory, output, clock } = stage();
  let seen: unknown = null;
  const prompt: Prompt = ({ peer }) => {
    seen = peer.status().peer;
    return Promise.resolve(3);
  };
  const code = await clock.run(invoke("--port 7401", { factory, output, clock, prompt }));
  assertEquals([code, seen === fakePeerId, factory.peer.quits], [3, true, 1]);
  assertEquals(factory.starts[0]?.port, 7401);
});

/** A peer that runs on the directory, as another process sees it. */
function runningPeer(tracker: string, answer: (output: Output) => Promise<number>) {
  const asked: unknown[] = [];
  let hangUps = 0;
  const peer: RunningPeer = {
    tracker,
    run: (request, output) => {
      asked.push(request);
      return answer(output);
    },
    close: () => void hangUps++,
  };
  return { peer, asked, hangUps: () => hangUps };
}

const ownId = "a".repeat(52);
const ownTracker = `--tracker p2p://127.0.0.1:7400/${ownId}`;

Deno.test("what a running peer can do is asked of it, whatever it says is printed", async () => {
  const { run, output, factory } = stage();
  const running = runningPeer(ownId, (there) => {
    there.print("from there");
    return Promise.resolve(3);
  });
  factory.running = running.peer;
  const lines = ["list", "get a --into b", `${ownTracker} get --all`, "verify", "--json pause x"];
  for (const line of lines) assertEquals(await run(line), 3, line);
  assertEquals(running.asked, [
    { command: "list", words: [], json: false },
    { command: "get", words: ["--into", "b", "--", "a"], json: false },
    { command: "get", words: ["--all", "--"], json: false },
    { command: "verify", words: [], json: false },
    { command: "pause", words: ["x"], json: true },
  ]);
  assertEquals(output.printed, lines.map(() => "from there"));
  assertEquals([factory.starts.length, factory.visits.length, running.hangUps()], [0, 0, 5]);
});

Deno.test("a running peer on another tracker isn't asked of this one", async () => {
  const { run, output, factory } = stage();
  const running = runningPeer("b".repeat(52), () => Promise.resolve(0));
  factory.running = running.peer;
  assertEquals(await run(`${ownTracker} list`), exitCode.done);
  assertEquals([factory.visits.length, running.asked.length], [1, 0]);
  assertEquals(await run(`${ownTracker} get other.txt`), exitCode.failed);
  assert(output.noted.some((text) => text.includes("on another tracker")), output.noted.join());
});

Deno.test("what only a running peer can do says so where there is none", async () => {
  for (const line of ["status", "pause", "resume x", "cancel x", "rescan", "quit"]) {
    const { run, output } = stage();
    assertEquals(await run(line), exitCode.failed, line);
    assertEquals(output.noted[0], "peer: error: no peer runs on .");
  }
});

Deno.test("Ctrl-C leaves a running peer's download to it, and says so", async () => {
  const { run, output, factory, stopping, clock } = stage();
  const running = runningPeer(ownId, () => new Promise(() => {}));
  factory.running = running.peer;
  clock.setTimer(1_000, () => stopping.abort());
  assertEquals(await run("get other.txt"), exitCode.failed);
  assertEquals([output.noted, running.hangUps()], [
    [
      'peer: info: the running peer goes on with it: "peer cancel" stops it',
      "peer: stopped",
    ],
    1,
  ]);
});

Deno.test("quit takes the running peer's end for the answer, others take it for a failure", async () => {
  const { run, output, factory } = stage();
  const gone = () => Promise.reject(new UserError("failed", "has ended"));
  factory.running = runningPeer(ownId, gone).peer;
  assertEquals(await run("quit"), exitCode.done);
  assertEquals(await run("status"), exitCode.failed);
  assertEquals(output.noted, ["peer: error: has ended"]);
});

Deno.test("share tells where its status page is", async () => {
  const { run, output, factory, stopping, clock } = stage();
  clock.setTimer(5_000, () => stopping.abort());
  await run("share --http 127.0.0.1:8080");
  assertEquals(output.printed[2], "status page: http://127.0.0.1:1/token/");
  assertEquals(factory.pages[0]?.address, { ip: "127.0.0.1", port: 8080 });
  const json = stage();
  json.clock.setTimer(5_000, () => json.stopping.abort());
  await json.run("--json share --http 127.0.0.1:8080");
  assertEquals(json.output.records[0]?.["page"], "http://127.0.0.1:1/token/");
});

Deno.test("--qr draws the join link", async () => {
  const { output, factory, stopping, clock } = stage();
  const drawn = Promise.withResolvers<string>();
  const print = output.print.bind(output);
  output.print = (text) => {
    print(text);
    if (output.printed.length === 3) drawn.resolve(text);
  };
  const ended = invoke("share --qr", { factory, output, clock, stopping });
  const lines = (await drawn.promise).split("\n");
  stopping.abort();
  assertEquals(await clock.run(ended), exitCode.done);
  assert(lines.every((line) => /^[█▀▄ ]+$/.test(line) && line.length === lines[0]?.length));
});

Deno.test("get puts files where --into says", async () => {
  const { run, factory } = stage();
  assertEquals(await run(`${tracked} get other.txt --into sub/new.txt`), exitCode.done);
  assertEquals(await run(`${tracked} get abcdef1 other.txt --into sub`), exitCode.done);
  const names = [...factory.peer.downloads.values()].map((download) => download.status().name);
  assertEquals(names.sort(), ["sub/good file.txt", "sub/other.txt"]);
});

Deno.test("completions are printed for the shell that is named", async () => {
  const { run, output } = stage();
  assertEquals(await run("completions fish"), exitCode.done);
  assert(output.printed[0]?.startsWith("# fish completion for peer"));
});

Deno.test("of many downloads those at work are drawn, and the others counted", async () => {
  const listed = Array.from(
    { length: 20 },
    (_, index) => listedFile(`${fatePrefixes.stalls}${index + 10}`, `n${index}.bin`),
  );
  const clock = new VirtualClock();
  const factory = new FakeFactory(listed, clock);
  const output = new KeptOutput();
  output.isLive = true;
  const prompt: Prompt = async ({ peer, board }) => {
    for (const file of listed) void board.watch(peer.download(file));
    for (const { digest } of listed.slice(0, 2)) peer.pause(digest);
    await new Promise<void>((resolve) => void clock.setTimer(1_000, resolve));
    return 0;
  };
  await clock.run(invoke("--tracker p2p://t", { factory, output, clock, prompt }));
  const drawn = output.drawn.findLast((lines) => lines.length > 0) ?? [];
  assertEquals(drawn.length, 9);
  assert(drawn[0]?.startsWith("n2.bin"), drawn[0]);
  assert(
    drawn.at(-1)?.startsWith("20 downloads, 2 queued, 2 paused: 0 B of 20.0 MiB"),
    drawn.at(-1),
  );
  assert(
    output.noted.includes(
      "peer: info: 20 downloads: 0 of 80 chunks stay, the next start goes on from there",
    ),
    output.noted.join("\n"),
  );
  assertEquals(factory.remembered.length, 20);
});
