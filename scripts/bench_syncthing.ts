/**
 * Syncthing as a contender: two of it on loopback with one folder between them. The clock starts when the
 * downloader, which knows the seeder but is told to keep away, is allowed to connect, and ends when it says that
 * nothing is missing.
 */
import { join } from "node:path";
import type { Program } from "../tests/programs.ts";
import {
  type Bench,
  Ends,
  freePort,
  type Measurement,
  poll,
  requireSame,
  start,
} from "./bench_ground.ts";

const apiKey = "bench";

const folderId = "bench";

/** What is carried: everything in a directory. */
export interface SyncthingRun extends Pick<Bench, "place" | "source" | "bytes"> {
  /** Throws unless all is there. */
  check(target: string): Promise<void>;
}

/** For a single file. */
export async function measureSyncthing(bench: Bench): Promise<Measurement> {
  return await runSyncthing({
    ...bench,
    check: (target) => requireSame(bench.file, join(target, "file")),
  });
}

export async function runSyncthing(bench: SyncthingRun): Promise<Measurement> {
  const { place, source, bytes, check } = bench;
  const target = await place.directory();
  const sender = await prepare(bench, source);
  const receiver = await prepare(bench, target);
  await introduce(sender, receiver);
  for (const one of [sender, receiver]) one.start(bench);
  await poll("Syncthing's scan", () => sender.holds(bytes));
  await poll("Syncthing's start", () => receiver.holds(0));
  const ends = await new Ends([sender.pid], [receiver.pid]).ready();
  const startedAt = performance.now();
  await receiver.patch(`config/devices/${sender.id}`, { paused: false });
  await poll("Syncthing", () => receiver.holds(bytes));
  const measurement = await ends.measurement((performance.now() - startedAt) / 1000);
  await place.endPrograms();
  await Deno.remove(join(source, ".stfolder"), { recursive: true });
  await check(target);
  await Deno.remove(target, { recursive: true });
  return measurement;
}

async function prepare({ place }: Pick<Bench, "place">, folder: string): Promise<Syncthing> {
  const home = await place.directory();
  const args = ["generate", `--home=${home}`, "--no-default-folder", "--skip-port-probing"];
  const { success, stdout, stderr } = await new Deno.Command("syncthing", { args }).output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  const id = /[A-Z2-7]{7}(-[A-Z2-7]{7}){7}/.exec(said)?.[0];
  if (!success || id === undefined) throw new Error(`syncthing generate failed: ${said}`);
  return new Syncthing({ id, home, folder, apiPort: freePort(), peerPort: freePort() });
}

/** Only the downloader knows where the other is, and may not connect at first. */
async function introduce(sender: Syncthing, receiver: Syncthing): Promise<void> {
  await sender.configure({ other: receiver.id, address: "", paused: false });
  const address = `tcp://127.0.0.1:${sender.peerPort}`;
  await receiver.configure({ other: sender.id, address, paused: true });
}

interface Parts {
  id: string;
  home: string;
  folder: string;
  apiPort: number;
  peerPort: number;
}

class Syncthing {
  readonly id: string;
  readonly peerPort: number;
  readonly #parts: Parts;
  #program: Program | null = null;

  constructor(parts: Parts) {
    this.id = parts.id;
    this.peerPort = parts.peerPort;
    this.#parts = parts;
  }

  get pid(): number {
    return this.#program?.id ?? 0;
  }

  async configure(link: { other: string; address: string; paused: boolean }): Promise<void> {
    const { id, home, folder, apiPort, peerPort } = this.#parts;
    const address = link.address === "" ? "" : `<address>${link.address}</address>`;
    await Deno.writeTextFile(
      join(home, "config.xml"),
      `<configuration version="35">
        <folder id="${folderId}" path="${folder}" type="sendreceive" rescanIntervalS="0"
            fsWatcherEnabled="false">
          <device id="${id}"></device><device id="${link.other}"></device>
          <minDiskFree unit="">0</minDiskFree>
          <caseSensitiveFS>true</caseSensitiveFS>
        </folder>
        <device id="${id}"></device>
        <device id="${link.other}">${address}<paused>${link.paused}</paused></device>
        <gui enabled="true"><address>127.0.0.1:${apiPort}</address><apikey>${apiKey}</apikey></gui>
        <options>
          <listenAddress>tcp://127.0.0.1:${peerPort}</listenAddress>
          <globalAnnounceEnabled>false</globalAnnounceEnabled>
          <localAnnounceEnabled>false</localAnnounceEnabled>
          <relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>
          <reconnectionIntervalS>1</reconnectionIntervalS><startBrowser>false</startBrowser>
          <urAccepted>-1</urAccepted><crashReportingEnabled>false</crashReportingEnabled>
          <autoUpgradeIntervalH>0</autoUpgradeIntervalH><setLowPriority>false</setLowPriority>
        </options>
      </configuration>`,
    );
  }

  start({ place }: Pick<Bench, "place">): void {
    const { home } = this.#parts;
    const args = ["serve", `--home=${home}`, "--no-browser", "--no-restart", "--no-upgrade"];
    // The monitor process apart, so that the id is that of the one at work.
    this.#program = start(place, ["syncthing", ...args], { STMONITORED: "1" });
  }

  async patch(path: string, change: Record<string, unknown>): Promise<void> {
    const body = JSON.stringify(change);
    const response = await fetch(this.#url(path), { method: "PATCH", body, ...this.#request });
    if (!response.ok) throw new Error(`Syncthing: ${await response.text()}`);
    await response.body?.cancel();
  }

  /** Null unless the folder holds so many bytes, lacks none and rests. */
  async holds(bytes: number): Promise<true | null> {
    const url = this.#url(`db/status?folder=${folderId}`);
    const response = await fetch(url, this.#request).catch(() => null);
    if (!response?.ok) return null;
    const { state, localBytes, needBytes } = await response.json();
    return state === "idle" && localBytes >= bytes && needBytes === 0 ? true : null;
  }

  get #request(): { headers: Record<string, string> } {
    return { headers: { "X-API-Key": apiKey } };
  }

  #url(path: string): string {
    return `http://127.0.0.1:${this.#parts.apiPort}/rest/${path}`;
  }
}
