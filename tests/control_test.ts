/**
 * A running peer asked from another terminal: what is said, who is served, and what becomes of those who break the
 * rules, over streams in memory and over real sockets.
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { ControlClient } from "../lib/control_client.ts";
import { controlDesk } from "../lib/control_desk.ts";
import {
  type CommandRequest,
  type ControlStream,
  decodeAskerHello,
  decodePeerHello,
  decodeReply,
  decodeRequest,
  encodeReply,
  encodeRequest,
  LineCutter,
  maxRequestBytes,
} from "../lib/control_messages.ts";
import { type ControlServiceOptions, serveAsker } from "../lib/control_service.ts";
import { openControlSocket, reachRunningPeer } from "../lib/control_socket.ts";
import { DownloadQueue } from "../lib/download_queue.ts";
import { exitCode, ProtocolError, UserError } from "../lib/errors.ts";
import { encodeId } from "../lib/identity.ts";
import { FakeFactory, fatePrefixes, KeptOutput, listedFile } from "./fake_peer.ts";
import { VirtualClock } from "./memory_network.ts";
import { inPlayground } from "./programs.ts";

const screen = {
  width: 80,
  liveWidth: 79,
  isLive: true,
  hasStyle: false,
  hasNoteStyle: false,
};

const id = encodeId(new Uint8Array(32));

function request(command: string, words: string[] = [], json = false): CommandRequest {
  return { command, words, json, screen };
}

/** Two ends of a stream in memory. */
function pair(): [ControlStream, ControlStream] {
  const [there, back] = [new TransformStream<Uint8Array>(), new TransformStream<Uint8Array>()];
  return [endOf(there.readable, back.writable), endOf(back.readable, there.writable)];
}

function endOf(from: ReadableStream<Uint8Array>, to: WritableStream<Uint8Array>): ControlStream {
  const reader = from.getReader();
  const writer = to.getWriter();
  return {
    read: async () => {
      const { value, done } = await reader.read();
      return done ? null : value.slice();
    },
    write: (bytes) => writer.write(bytes),
    finish: () => writer.close(),
    abort: () => {
      void reader.cancel().catch(() => {});
      void writer.abort().catch(() => {});
    },
  };
}

const encode = (text: string) => new TextEncoder().encode(text);

Deno.test("requests and replies are read back as they were written", () => {
  const asked = request("get", ["a b", "日本語"], true);
  assertEquals(decodeRequest(encodeRequest(asked).trimEnd()), asked);
  const replies = [
    { type: "print", text: "line\n\x1b[1mtwo" },
    { type: "note", text: "" },
    { type: "live", lines: ["a", "b"] },
    { type: "end", code: 4 },
  ] as const;
  for (const reply of replies) {
    const line = encodeReply(reply.type === "live" ? { ...reply, lines: ["a", "b"] } : reply);
    assertEquals(decodeReply(line.trimEnd()) as unknown, reply);
    assertEquals(line.split("\n").length, 2, "one line each");
  }
});

Deno.test("whatever comes over the socket, decoders throw nothing but a ProtocolError", () => {
  const decoders = [decodeAskerHello, decodePeerHello, decodeRequest, decodeReply];
  const line = fc.oneof(fc.string(), fc.json());
  fc.assert(fc.property(line, fc.constantFrom(...decoders), (text, decode) => {
    try {
      decode(text);
    } catch (thrown) {
      if (!(thrown instanceof ProtocolError)) throw thrown;
    }
  }));
  const rows = [
    request("get", Array(10_001).fill("x")),
    request("get", ["x".repeat(8_193)]),
    { ...request("get"), screen: { ...screen, liveWidth: 1e9 } },
    { ...request("get"), words: [1] },
  ];
  for (const row of rows) assertThrows(() => decodeRequest(JSON.stringify(row)), ProtocolError);
});

Deno.test("LineCutter cuts lines wherever the bytes are cut, and bounds them", () => {
  const bytes = encode("one\nzwö\n\nlast");
  for (let size = 1; size <= bytes.length; size++) {
    const cutter = new LineCutter(100);
    const lines: string[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      lines.push(...cutter.cut(bytes.subarray(at, at + size)));
    }
    assertEquals(lines, ["one", "zwö", ""]);
  }
  const cutter = new LineCutter(10);
  for (let count = 0; count < 10; count++) cutter.cut(encode("x"));
  assertThrows(() => cutter.cut(encode("x")), ProtocolError);
});

function service(options: Partial<ControlServiceOptions> = {}) {
  const clock = new VirtualClock();
  const [asker, server] = pair();
  const served = serveAsker(server, {
    ...{ token: null, tracker: () => id, clock },
    run: () => Promise.resolve(0),
    ...options,
  });
  return { clock, asker, served };
}

Deno.test("an asker hears what its command says, in order, and the exit code", async () => {
  const { asker, served, clock } = service({
    run: ({ words }, output) => {
      output.print(`printed ${words}`);
      output.note("noted");
      output.live(["drawn"]);
      return Promise.resolve(3);
    },
  });
  const client = await ControlClient.greet({ stream: asker, token: "", clock });
  assertEquals(client.tracker, id);
  const output = new KeptOutput();
  output.isLive = true;
  assertEquals(await client.run(request("list", ["x"]), output), 3);
  assertEquals([output.printed, output.noted], [["printed x"], ["noted"]]);
  assertEquals(output.drawn, [["drawn"]]);
  await served;
  assertEquals(clock.pending, 0);
});

Deno.test("an asker hears the exit code in whatever moment its command ends", async () => {
  for (let moments = 0; moments < 30; moments++) {
    const { asker, served, clock } = service({
      run: async (_request, output) => {
        output.print("printed");
        for (let moment = 0; moment < moments; moment++) await Promise.resolve();
        return 3;
      },
    });
    const client = await ControlClient.greet({ stream: asker, token: "", clock });
    assertEquals(await client.run(request("list"), new KeptOutput()), 3, `after ${moments}`);
    await served;
  }
});

Deno.test("lines redrawn in place pile up for nobody: only the latest is sent", async () => {
  const gate = Promise.withResolvers<void>();
  const { asker, clock } = service({
    run: async (_request, output) => {
      for (let count = 0; count < 10_000; count++) output.live([String(count)]);
      await gate.promise;
      return 0;
    },
  });
  const client = await ControlClient.greet({ stream: asker, token: "", clock });
  const output = new KeptOutput();
  output.isLive = true;
  const ended = client.run(request("get"), output);
  gate.resolve();
  assertEquals(await ended, 0);
  assert(output.drawn.length < 10, `${output.drawn.length} drawn`);
  assertEquals(output.drawn.at(-1), ["9999"]);
});

Deno.test("what is drawn fits an asker's terminal as it is, not as it was", async () => {
  const begun = Promise.withResolvers<void>();
  const { asker, served, clock } = service({
    run: async (_request, output) => {
      output.live([`${output.liveWidth} wide`]);
      begun.resolve();
      for (let turn = 0; turn < 1_000 && output.liveWidth === 79; turn++) await Promise.resolve();
      output.live([`${output.liveWidth} wide`]);
      return 0;
    },
  });
  const client = await ControlClient.greet({ stream: asker, token: "", clock });
  const output = new KeptOutput();
  output.isLive = true;
  const ended = client.run(request("get"), output);
  await begun.promise;
  assertEquals(output.resize(39), 1);
  assertEquals(await ended, 0);
  assertEquals(output.drawn.at(-1), ["39 wide"]);
  assertEquals(output.resize(20), 0, "nobody listens any more");
  await served;
});

Deno.test("an asker that doesn't read is left when too much waits for it", async () => {
  const stopped = Promise.withResolvers<void>();
  const { asker, served } = service({
    run: async (_request, output, stop) => {
      stop.addEventListener("abort", () => stopped.resolve());
      const megabyte = "x".repeat(2 ** 20);
      for (let count = 0; count < 80; count++) {
        try {
          output.print(megabyte);
        } catch {
          break;
        }
      }
      await stopped.promise;
      return 1;
    },
  });
  await asker.write(encode(`{"hello":1}\n${encodeRequest(request("list"))}`));
  await asker.read();
  await served;
});

Deno.test("an asker that goes stops its command", async () => {
  const stopped = Promise.withResolvers<void>();
  const { asker, served, clock } = service({
    run: (_request, _output, stop) => {
      stop.addEventListener("abort", () => stopped.resolve());
      return stopped.promise.then(() => 1);
    },
  });
  const client = await ControlClient.greet({ stream: asker, token: "", clock });
  const running = client.run(request("get"), new KeptOutput());
  void running.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 0));
  client.close();
  await stopped.promise;
  await served;
});

Deno.test("nobody is served who breaks the rules, is too slow or shows no token", async () => {
  const run = () => Promise.reject(new Error("it must not be run"));
  const rows: [string, string][] = [
    ["no JSON", "hello\n"],
    ["no greeting", "{}\n"],
    ["another version", '{"hello":2}\n'],
    ["a wrong token", '{"hello":1,"token":"guess"}\n'],
    ["no token", '{"hello":1}\n'],
    ["a line without end", "x".repeat(maxRequestBytes + 1)],
    ["many lines", "{}\n".repeat(1000)],
  ];
  for (const [what, bytes] of rows) {
    const { asker, served } = service({ run, token: "right" });
    await asker.write(encode(bytes)).catch(() => {});
    await served;
    assertEquals(await asker.read().catch(() => null), null, what);
  }
  const { clock, served } = service({ run });
  await clock.run(served);
  assert(clock.now() <= 10_000, "the silent");
});

Deno.test("greet() says so when nobody answers, or somebody who doesn't know how", async () => {
  for (const answer of ["", "SSH-2.0\n", '{"hello":9,"tracker":"x"}\n']) {
    const clock = new VirtualClock();
    const [asker, other] = pair();
    void other.read().then(() => answer === "" ? null : other.write(encode(answer)));
    const greeting = ControlClient.greet({ stream: asker, token: "", clock });
    await assertRejects(() => clock.run(greeting), UserError, "doesn't answer");
  }
});

function desk() {
  const clock = new VirtualClock();
  const files = [
    listedFile("abcdef1", "film.mkv", 4),
    listedFile(fatePrefixes.stalls, "stalled.txt"),
  ];
  const factory = new FakeFactory(files, clock);
  const peer = new DownloadQueue(factory.peer, { clock });
  const stopping = new AbortController();
  const settings = {
    ...{ dir: "d", tracker: null, secret: null, port: null, up: 0, down: 0, json: false },
  };
  const context = { factory, settings, output: new KeptOutput(), clock, stop: stopping.signal };
  let quits = 0;
  const served = controlDesk({ peer, context, quit: () => void quits++ });
  const run = async (line: string, { json = false } = {}) => {
    const output = new KeptOutput();
    const [command = "", ...words] = line.split(" ");
    const asked = served.run(request(command, words, json), output, new AbortController().signal);
    return { code: await clock.run(asked), output };
  };
  return { clock, peer, served, run, quits: () => quits };
}

Deno.test("the desk runs the prompt's commands, each with an output of its own", async () => {
  const { run } = desk();
  const { code, output } = await run("get film.mkv");
  assertEquals([code, output.printed.length], [exitCode.done, 1]);
  assert(output.printed[0]?.startsWith("film.mkv  1.00 MiB"));
  assertEquals((await run("list")).output.printed.length, 1);
  const json = await run("get film.mkv", { json: true });
  const events = json.output.records.map(({ event }) => event);
  assertEquals([events[0], events.at(-1)], ["ready", "complete"]);
  assertEquals((await run("get nothing")).code, exitCode.notFound);
  assertEquals((await run("help")).code, exitCode.usage);
  assertEquals((await run("constructor")).code, exitCode.usage);
  assertEquals((await run("list x")).code, exitCode.usage);
});

Deno.test("the desk pauses, resumes and cancels, and says so", async () => {
  const { run, peer, served, clock } = desk();
  const leaving = new AbortController();
  const watching = served.run(request("get", ["stalled.txt"]), new KeptOutput(), leaving.signal);
  clock.setTimer(100, () => leaving.abort());
  assertEquals(await clock.run(watching), exitCode.failed);
  const state = () => peer.status().downloads[0]?.state;
  assertEquals(state(), "downloading", "it goes on without whoever asked");
  assertEquals((await run("pause")).output.printed, ["paused stalled.txt"]);
  assertEquals(state(), "paused");
  assertEquals((await run("pause")).code, exitCode.failed);
  const { records } = (await run("resume stall*", { json: true })).output;
  assertEquals(records.map(({ event, name }) => [event, name]), [["resumed", "stalled.txt"]]);
  assertEquals((await run("cancel stalled.txt")).output.printed, ["cancelled stalled.txt"]);
  assertEquals(state(), "cancelled");
});

Deno.test("the desk ends the peer when asked to", async () => {
  const { served, quits } = desk();
  void served.run(request("quit"), new KeptOutput(), new AbortController().signal);
  await Promise.resolve();
  assertEquals(quits(), 1);
});

for (const depth of [0, 4]) {
  const kind = depth === 0 ? "a Unix socket" : "a port, where the path is too long for a socket";
  Deno.test({
    name: `reachRunningPeer() finds who runs on the directory at ${kind}`,
    ignore: Deno.build.os === "windows",
    fn: () =>
      inPlayground(async (place) => {
        const long = Array(depth).fill("x".repeat(40)).join("/");
        const directory = join(await place.directory(), long);
        await Deno.mkdir(join(directory, ".p2p"), { recursive: true, mode: 0o700 });
        assertEquals(await reachRunningPeer(directory), null);
        const run: ControlServiceOptions["run"] = ({ words }, output) => {
          output.print(words.join());
          return Promise.resolve(0);
        };
        const socket = openControlSocket(directory, { tracker: () => id, run });
        const found = [...Deno.readDirSync(join(directory, ".p2p"))].map(({ name }) => name);
        assertEquals(found, [depth === 0 ? "control.sock" : "control.json"]);
        const { mode } = Deno.lstatSync(join(directory, ".p2p", found[0] ?? ""));
        assertEquals((mode ?? 0) & 0o777, 0o600);
        const client = await reachRunningPeer(directory);
        const output = new KeptOutput();
        assertEquals(await client?.run(request("list", ["a", "b"]), output), 0);
        client?.close();
        assertEquals(output.printed, ["a,b"]);
        socket.close();
        assertEquals(await reachRunningPeer(directory), null);
        assertEquals([...Deno.readDirSync(join(directory, ".p2p"))], []);
      }),
  });
}

Deno.test("what an earlier peer left of its socket is nobody, and is cleared away", () =>
  inPlayground(async (place) => {
    const directory = await place.directory();
    await Deno.mkdir(join(directory, ".p2p"));
    await Deno.writeTextFile(join(directory, ".p2p/control.sock"), "");
    await Deno.writeTextFile(join(directory, ".p2p/control.json"), '{"port":1,"token":"x"}');
    assertEquals(await reachRunningPeer(directory), null);
    const socket = openControlSocket(directory, {
      tracker: () => id,
      run: () => Promise.resolve(0),
    });
    const client = await reachRunningPeer(directory);
    assertEquals(client?.tracker, id);
    client?.close();
    socket.close();
  }));
