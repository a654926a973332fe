import { assert, assertEquals } from "@std/assert";
import { openHttpServer } from "../lib/http_server.ts";
import { within } from "./programs.ts";

const ip = "127.0.0.1";
const limitMs = 15_000;
const idleMs = 300;
const maxIdle = 64;

const encoder = new TextEncoder();

function open(handle = () => Promise.resolve(new Response("hello"))) {
  const server = openHttpServer({ ip, port: 0 }, handle, { idleMs });
  const { port } = server.address;
  return { server, port, url: `http://${ip}:${port}/` };
}

async function connect(port: number, text: string): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname: ip, port });
  await conn.write(encoder.encode(text));
  return conn;
}

/** All that comes until the other side hangs up; null if it doesn't. */
async function everythingFrom(conn: Deno.TcpConn): Promise<string | null> {
  return await within(
    new Response(conn.readable).text().catch(() => "broken off"),
    limitMs,
  );
}

Deno.test("openHttpServer() lets go of who sends no request, half of one, and nothing after one", async () => {
  const { server, port, url } = open();
  try {
    const head = `GET / HTTP/1.1\r\nHost: ${ip}\r\n`;
    const mute = await connect(port, "");
    const half = await connect(port, head);
    const idle = await connect(port, `${head}\r\n`);
    const [nothing, less, answer] = await Promise.all([mute, half, idle].map(everythingFrom));
    assertEquals([nothing, less].filter((text) => text === "" || text === "broken off").length, 2);
    assert(answer?.includes("hello"));
    assertEquals(await (await fetch(url)).text(), "hello");
  } finally {
    await server.close();
  }
});

Deno.test("openHttpServer() answers while more connections than have room say nothing", async () => {
  const { server, port, url } = open();
  const mute: Deno.TcpConn[] = [];
  try {
    for (let count = 0; count < 2 * maxIdle; count++) mute.push(await connect(port, "GET / HT"));
    assertEquals(await (await fetch(url)).text(), "hello");
    const ends = await Promise.all(mute.splice(0).map(everythingFrom));
    assertEquals(ends.filter((text) => text === null), []);
  } finally {
    for (const conn of mute) conn.close();
    await server.close();
  }
});

Deno.test("openHttpServer() keeps a connection for as long as its request takes", async () => {
  const patience = Promise.withResolvers<void>();
  const handle = async () => {
    await patience.promise;
    return new Response("late");
  };
  const { server, url } = open(handle);
  try {
    const answer = fetch(url);
    setTimeout(patience.resolve, 3 * idleMs);
    assertEquals(await (await answer).text(), "late");
  } finally {
    await server.close();
  }
});

Deno.test("openHttpServer() answers nobody who comes past its door", async () => {
  const { server, port, url } = open();
  try {
    assertEquals((await fetch(url)).status, 200);
    const ports = listeningPorts().filter((each) => each !== port);
    for (const each of ports) {
      const response = await within(fetch(`http://${ip}:${each}/`).catch(() => null), 2_000);
      if (response === null) continue;
      const text = await response.text();
      assert(!text.includes("hello"), `port ${each} answers`);
    }
  } finally {
    await server.close();
  }
});

/** Of this process; none where the system doesn't tell. */
function listeningPorts(): number[] {
  try {
    const own = new Set(
      [...Deno.readDirSync("/proc/self/fd")].flatMap(({ name }) => inodeOf(name)),
    );
    return Deno.readTextFileSync("/proc/self/net/tcp").split("\n").slice(1).flatMap((line) => {
      const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
      return state === "0A" && own.has(inode) ? [parseInt(local.split(":")[1] ?? "0", 16)] : [];
    });
  } catch {
    return [];
  }
}

function inodeOf(descriptor: string): string[] {
  try {
    const found = /^socket:\[(\d+)\]$/.exec(Deno.readLinkSync(`/proc/self/fd/${descriptor}`));
    return found?.[1] === undefined ? [] : [found[1]];
  } catch {
    return [];
  }
}
