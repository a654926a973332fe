/**
 * A Redis, or Valkey, of a test's own: on a port of its own, keeping nothing on disk unless told to, ended by its
 * id. `redisHere` is null where there is none; tests that need it are skipped then and say so.
 */
import { connect } from "node:net";

const readyMs = 10_000;

const programs = ["redis-server", "valkey-server"];

/** The program's path. */
export const redisHere: string | null = findProgram();

export class RedisServer {
  readonly port: number;
  readonly #directory: string;
  #child: Deno.ChildProcess | null = null;

  constructor() {
    this.port = freePort();
    this.#directory = Deno.makeTempDirSync({ prefix: "redis-" });
  }

  static async start(more: string[] = []): Promise<RedisServer> {
    const server = new RedisServer();
    await server.start(more);
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Ready when this resolves. */
  async start(more: string[] = []): Promise<void> {
    this.#child = new Deno.Command(redisHere ?? "redis-server", {
      args: [
        ...["--port", `${this.port}`, "--bind", "127.0.0.1", "--dir", this.#directory],
        ...["--save", "", "--appendonly", "no", ...more],
      ],
      stdout: "null",
      stderr: "null",
    }).spawn();
    const beganMs = performance.now();
    while (!await this.#answers()) {
      if (performance.now() - beganMs > readyMs) throw new Error("Redis doesn't start");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends the process, whose data is lost. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null) return;
    child.kill("SIGCONT");
    child.kill("SIGKILL");
    await child.status;
  }

  /** Lets it hang, with all its connections open. */
  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child?.kill("SIGCONT");
  }

  /** One command, and the first line of its answer. */
  command(...words: string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, "127.0.0.1");
      socket.once("error", reject);
      socket.once("connect", () => socket.write(`${words.join(" ")}\r\n`));
      socket.once("data", (bytes) => {
        socket.destroy();
        resolve(bytes.toString().split("\r\n")[0] ?? "");
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    Deno.removeSync(this.#directory, { recursive: true });
  }

  async #answers(): Promise<boolean> {
    return await this.command("PING").then((line) => line === "+PONG", () => false);
  }
}

function findProgram(): string | null {
  for (const program of programs) {
    const found = new Deno.Command("sh", { args: ["-c", `command -v ${program}`] }).outputSync();
    if (found.success) return new TextDecoder().decode(found.stdout).trim();
  }
  console.log("skipped: tests with a real Redis, which needs redis-server or valkey-server");
  return null;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
