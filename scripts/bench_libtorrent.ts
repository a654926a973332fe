/**
 * One end of a libtorrent transfer: starts `bench_libtorrent.py` and says what it is to do.
 */
import { join } from "node:path";
import type { Playground, Program } from "../tests/programs.ts";
import { limitMs, secondsIn, start } from "./bench_ground.ts";

/** Debian's, which has the bindings; another one in the path may not. */
const python = "/usr/bin/python3";

export interface LibtorrentOptions {
  mode: "seed" | "get";
  transport: "tcp" | "utp";
  torrent: string;
  directory: string;
}

export class Libtorrent {
  readonly program: Program;
  readonly port: number;

  constructor(program: Program, port: number) {
    this.program = program;
    this.port = port;
  }

  /** Downloads from all of these; the seconds that it took. */
  async get(ports: readonly number[]): Promise<number> {
    await this.program.type(ports.join(" "));
    const done = await this.program.event((event) => "seconds" in event, "end", limitMs);
    return secondsIn(done);
  }

  /** Ends it: how many bytes of content it has sent. */
  async uploaded(): Promise<number> {
    await this.program.closeInput();
    const told = await this.program.event((event) => "uploaded" in event, "total");
    return Number(told["uploaded"]);
  }
}

export async function startLibtorrent(
  place: Playground,
  { mode, transport, torrent, directory }: LibtorrentOptions,
): Promise<Libtorrent> {
  const script = join(import.meta.dirname ?? "", "bench_libtorrent.py");
  const program = start(place, [python, script, mode, transport, torrent, directory]);
  const { port } = await program.event((event) => "port" in event, "port", limitMs);
  return new Libtorrent(program, Number(port));
}

/** Null when it is installed. */
export async function missingLibtorrent(): Promise<string | null> {
  const args = ["-c", "import libtorrent"];
  const isThere = await new Deno.Command(python, { args }).output()
    .then(({ success }) => success, () => false);
  return isThere ? null : "python3-libtorrent";
}
