/**
 * A bad network for UDP on loopback: whatever comes to its port goes on to a target, and back, later and not always.
 *
 *     lossy_proxy.ts PORT [DELAY_MS LOSS [FROM]]   prints {"port"}
 *
 * DELAY_MS and LOSS are for one way, 50 and 0.01 unless given; FROM is the address from which the target hears,
 * 127.0.0.1 unless given.
 *
 * Datagrams keep their order. It goes on until standard input ends, and prints {"passed", "lost"} then.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";

const host = "127.0.0.1";

/** How often it is looked whether a datagram is due. */
const tickMs = 1;

/** Datagrams under way in one direction; more are lost, as in a router. */
const maxWaiting = 100_000;

const [targetPort, delayMs = "50", loss = "0.01", from = host] = Deno.args;

interface Waiting {
  bytes: Uint8Array;
  due: number;
  send(bytes: Uint8Array): void;
}

const counts = { passed: 0, lost: 0 };
const waiting: Waiting[] = [];
let first = 0;

/** By the port of whoever sends: the socket from which the target hears of it. */
const ways = new Map<number, Socket>();

const entrance = createSocket("udp4");
entrance.on("message", (bytes: Uint8Array, sender: RemoteInfo) => {
  const way = ways.get(sender.port) ?? openWay(sender.port);
  delay(bytes, (late) => way.send(late, Number(targetPort), host));
});
entrance.bind(0, host, () => console.log(JSON.stringify({ port: entrance.address().port })));
setInterval(passDue, tickMs);
while (await Deno.stdin.read(new Uint8Array(1)) !== null);
console.log(JSON.stringify(counts));
Deno.exit(0);

function openWay(port: number): Socket {
  const way = createSocket("udp4");
  way.on("message", (bytes: Uint8Array) => delay(bytes, (late) => entrance.send(late, port, host)));
  way.bind(0, from);
  ways.set(port, way);
  return way;
}

function delay(bytes: Uint8Array, send: (bytes: Uint8Array) => void): void {
  if (Math.random() < Number(loss) || waiting.length - first >= maxWaiting) {
    counts.lost++;
    return;
  }
  waiting.push({ bytes, due: performance.now() + Number(delayMs), send });
}

/** All wait equally long, so the first to come is the first to go. */
function passDue(): void {
  const now = performance.now();
  for (; first < waiting.length && waiting[first]!.due <= now; first++) {
    const { bytes, send } = waiting[first]!;
    send(bytes);
    counts.passed++;
  }
  if (first < 10_000) return;
  waiting.splice(0, first);
  first = 0;
}
