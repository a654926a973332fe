/**
 * One machine of the simulation with a peer on it: started, crashed, put to sleep and started again on the same
 * directory, and watched while it runs. What its user wants outlives the process.
 */
import { copyBits, setBit } from "../lib/bitfield.ts";
import type { Download, DownloadStatus, ListedFile, Notice } from "../lib/control.ts";
import { encodeId, type Identity } from "../lib/identity.ts";
import type { PeerNode } from "../lib/peer_node.ts";
import type { Random } from "../lib/ports.ts";
import type { AnnouncedFile } from "../lib/tracker_messages.ts";
import { TrackerLink, type TrackerLinkOptions } from "../lib/tracker_link.ts";
import type { TransferRates } from "../lib/transfer_limits.ts";
import type { MemoryEndpoint } from "./memory_network.ts";
import type { Salvage } from "./memory_store.ts";
import type { MemorySwarm } from "./memory_swarm.ts";
import type { TrueFile } from "./simulation_files.ts";
import { ProcessClock } from "./simulation_process.ts";
import { type Lie, SimulationStore } from "./simulation_store.ts";

export interface MachineOptions {
  swarm: MemorySwarm;
  number: number;
  random: Random;
  rates: TransferRates;
  lie: Lie | null;
  truth: ReadonlyMap<string, TrueFile>;
  onViolation(text: string): void;
}

/** A peer while it runs. */
export interface Running {
  clock: ProcessClock;
  store: SimulationStore;
  node: PeerNode;
  tracker: WatchedTrackerLink;
  endpoints: MemoryEndpoint[];
  /** Whether the node knows of the directory and the directory of the node: before, nobody can ask it for a file. */
  isStarted: boolean;
  /** By digest in hex, those asked for in this life. */
  downloads: Map<string, Download>;
}

export class SimulationMachine {
  readonly ip: string;
  readonly identity: Identity;
  /** The beginning of the id, by which notices name a peer. */
  readonly shortId: string;
  readonly options: MachineOptions;
  readonly disk = { delayMs: 0 };
  /** Digests that the user wants, in hex. */
  readonly wishes = new Set<string>();
  /** Peers that were dropped for good, by the beginning of their ids. */
  readonly banned = new Set<string>();
  running: Running | null = null;
  #salvage: Salvage = { files: [], unfinished: [] };
  #isFull = false;
  #starts = 0;

  constructor(options: MachineOptions) {
    this.options = options;
    this.ip = `10.0.1.${options.number}`;
    this.identity = options.swarm.identity(options.number);
    this.shortId = encodeId(this.identity.id).slice(0, 8);
  }

  /** Starts the peer on what lies in the directory. It is off again if there is no tracker. */
  async start(): Promise<void> {
    if (this.running) return;
    const running = this.#assemble();
    this.running = running;
    await running.store.restore(this.#salvage);
    try {
      await running.tracker.connect();
    } catch {
      if (this.running === running) this.#stop(running, running.store.salvage());
      return;
    }
    if (this.running !== running) return;
    running.node.start();
    running.isStarted = true;
  }

  /** The process is killed, or the machine loses power. */
  crash(how: "killed" | "power cut"): void {
    const { running } = this;
    if (!running) return;
    const isPowerCut = how === "power cut";
    this.#stop(running, running.store[isPowerCut ? "salvageAfterPowerCut" : "salvage"]());
  }

  /** The user ends the peer. */
  quit(): Promise<void> | null {
    const { running } = this;
    if (!running || running.tracker.state !== "connected") return null;
    this.wishes.clear();
    return running.node.quit().then(() => {
      if (this.running === running) this.#stop(running, running.store.salvage());
    });
  }

  fillDisk(isFull: boolean): void {
    this.#isFull = isFull;
    if (this.running) this.running.store.failWrites = isFull;
  }

  get(file: ListedFile): void {
    if (!this.running) return;
    this.wishes.add(file.digest);
    this.running.downloads.set(file.digest, this.running.node.download(file));
  }

  cancel(digest: string): void {
    this.wishes.delete(digest);
    this.running?.node.cancel(digest);
  }

  statusOf(digest: string): DownloadStatus | null {
    return this.running?.downloads.get(digest)?.status() ?? null;
  }

  #assemble(): Running {
    const { swarm, number, random, rates } = this.options;
    const clock = new ProcessClock(swarm.clock);
    const store = new SimulationStore({ ...this.options, clock, disk: this.disk });
    store.failWrites = this.#isFull;
    let watched: WatchedTrackerLink | undefined;
    const { node, endpoints } = swarm.assemble({
      identity: this.identity,
      ip: this.ip,
      seed: random.below(2 ** 31) + number + ++this.#starts,
      store,
      rates,
      clock,
      onNotice: (notice) => this.#hear(notice),
      linkTo: (parts) => watched = new WatchedTrackerLink(parts, { machine: this, clock, store }),
    });
    const downloads = new Map<string, Download>();
    return { clock, store, node, tracker: watched!, endpoints, isStarted: false, downloads };
  }

  #stop(running: Running, salvage: Salvage): void {
    this.#salvage = salvage;
    running.clock.kill();
    for (const endpoint of running.endpoints) endpoint.vanish();
    this.running = null;
    this.banned.clear();
  }

  #hear({ text }: Notice): void {
    const peer = /^peer (\w+) .*: not asked again$/.exec(text)?.[1];
    if (peer) this.banned.add(peer);
  }
}

interface Watch {
  machine: SimulationMachine;
  clock: ProcessClock;
  store: SimulationStore;
}

/** Knows what was announced, and objects to what is not there. */
export class WatchedTrackerLink extends TrackerLink {
  /** As the tracker should know it, by digest in hex. */
  readonly announced = new Map<string, AnnouncedFile>();
  readonly #watch: Watch;

  constructor(options: TrackerLinkOptions, watch: Watch) {
    super(options);
    this.#watch = watch;
  }

  override announce(files: readonly AnnouncedFile[]): void {
    for (const file of files) {
      const held = file.held && copyBits(file.held);
      this.announced.set(file.digest.toHex(), { ...file, held });
    }
    this.check("announced");
    super.announce(files);
  }

  override have(digest: Uint8Array, chunk: number): void {
    const file = this.announced.get(digest.toHex());
    if (file?.held) setBit(file.held, chunk);
    this.check("had");
    super.have(digest, chunk);
  }

  override withdraw(digests: readonly Uint8Array[]): void {
    for (const digest of digests) this.announced.delete(digest.toHex());
    super.withdraw(digests);
  }

  /** Whether all that was announced is held. */
  check(when: string): void {
    const { machine, clock, store } = this.#watch;
    if (clock.isDead || machine.options.lie === "claims") return;
    for (const { digest, held, names } of this.announced.values()) {
      if (store.holds(digest, held)) continue;
      machine.options.onViolation(`${machine.ip} ${when} ${names[0]}, which it doesn't hold`);
    }
  }
}
