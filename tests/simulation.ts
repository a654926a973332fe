/**
 * A deterministic simulation of the whole system: the real tracker and peers on a network, directories and clocks
 * in memory, everything determined by one seed. A run has three parts.
 *
 * Trouble: at every step users and fate do something (`troubles`), time passes, and what must always hold is
 * checked: no wrong byte in a complete file, nothing announced that isn't held, no honest peer dropped by another,
 * bounded numbers of connections and timers. A process that spins, so that time stands still, ends the run.
 *
 * Recovery: the faults end, everybody starts again and asks for what was wanted. All that honest peers hold
 * between them must be complete within `recoveryMs`.
 *
 * Rest: nobody wants anything. The tracker's list is exactly what the peers hold, connections and timers are let go.
 *
 * Not simulated: lost and reordered datagrams and NATs (`simulated_network.ts` has those), real files (the crash
 * tests have them), the contents of TLS.
 */
import { isFull } from "../lib/bitfield.ts";
import { chunkCountOf } from "../lib/chunk_layout.ts";
import { heartbeatMs } from "../lib/constants.ts";
import type { ListedFile } from "../lib/control.ts";
import { messageOf } from "../lib/errors.ts";
import type { Clock } from "../lib/ports.ts";
import type { TransferRates } from "../lib/transfer_limits.ts";
import { SeededRandom, settle } from "./memory_network.ts";
import { MemorySwarm } from "./memory_swarm.ts";
import { type Running, SimulationMachine } from "./simulation_machine.ts";
import { ProcessClock } from "./simulation_process.ts";
import { maxFileBytes, type TrueFile, trueFile } from "./simulation_files.ts";
import type { Lie } from "./simulation_store.ts";

const recoveryMs = 300_000;
/** Until the silent are forgotten, links that nobody needs are closed and the last haves are told. */
const restMs = 6 * heartbeatMs + 60_000;
/** A manifest that no holder can give, or prove, is asked for less and less often: between two times all rest. */
const maxUnrestMs = 15 * 60_000;
const unrestStepMs = 10_000;
const minMachines = 3;
const extraMachines = 4;
const startFiles = 4;
const maxFiles = 16;
const fileLengths = [0, 1, 16_384, 100_000, 262_144, 262_145, 700_000, maxFileBytes];

/** Of one process: far more than any run needs, far fewer than a machine that spins. */
const maxConnectionsPerPeer = 64;
const maxTimersArmed = 512;
/** Of all together, as `VirtualClock` counts them; no run was seen to take more than 7,000. */
const maxStepsPerSecond = 100_000;
const maxTimersPerSecond = 5000;
const maxTimersAtRest = 24;
const maxConnectionsAtRest = 1;

export interface SimulationOptions {
  seed: number;
  steps: number;
  /** Hears what happens, for a replay. */
  onLog?(line: string): void;
  /** A mistake to be found: called in the midst, with a peer's clock. */
  sabotage?(clock: Clock): void;
}

export interface SimulationReport {
  seed: number;
  /** What went wrong; empty when all is well. */
  violations: string[];
  /** Downloads that completed. */
  completed: number;
  virtualSeconds: number;
  /** The most timers that one process fired in a second. */
  timersPerSecond: number;
}

type Trouble = (simulation: Simulation) => string | null;

/** Runs one seed. Never rejects: what is thrown is a violation. */
export async function simulate(options: SimulationOptions): Promise<SimulationReport> {
  const simulation = new Simulation(options);
  const onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    simulation.violate(`unhandled rejection: ${stackOf(event.reason)}`);
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  try {
    await simulation.run();
  } catch (error) {
    simulation.violate(`thrown: ${stackOf(error)}`);
  } finally {
    // What ended with a spinning process is rejected a moment later.
    await settle();
    globalThis.removeEventListener("unhandledrejection", onRejection);
  }
  return simulation.report();
}

class Simulation {
  readonly #options: SimulationOptions;
  readonly #random: SeededRandom;
  readonly #swarm: MemorySwarm;
  readonly #machines: SimulationMachine[] = [];
  readonly #truth = new Map<string, TrueFile>();
  readonly #violations: string[] = [];
  readonly #firedBefore = new Map<ProcessClock, number>();
  #trackerClock: ProcessClock | null = null;
  #checkedAt = 0;
  #timersPerSecond = 0;
  #completed = 0;
  #files = 0;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    this.#swarm = new MemorySwarm({
      seed: options.seed,
      time: { isPure: true, maxStepsPerSecond },
      latencyMs: this.pick([0, 1, 20, 150]),
      bytesPerSecond: this.pick([Infinity, 10_000_000, 1_000_000]),
    });
    const count = minMachines + this.below(extraMachines + 1);
    for (let number = 1; number <= count; number++) this.#machines.push(this.#machine(number));
  }

  async run(): Promise<void> {
    for (const machine of this.#machines) void machine.start();
    await this.#swarm.clock.advance(2000);
    for (let file = 0; file < startFiles; file++) this.#log(addFile(this));
    this.#options.sabotage?.(this.#machines[0]!.running!.clock);
    for (let step = 0; step < this.#options.steps; step++) {
      this.#log(this.#trouble(step)(this));
      await this.#swarm.clock.advance(this.#pauseMs());
      this.#check();
      if (this.#violations.length > 0) return;
    }
    await this.#recover();
    if (this.#violations.length === 0) await this.#rest();
  }

  report(): SimulationReport {
    return {
      seed: this.#options.seed,
      violations: this.#violations,
      completed: this.#completed,
      virtualSeconds: this.#swarm.clock.reading / 1000,
      timersPerSecond: this.#timersPerSecond,
    };
  }

  violate(text: string): void {
    if (this.#violations.length < 8) this.#violations.push(text);
    this.#log(`VIOLATION ${text}`);
  }

  // ── what troubles may use ────────────────────────────────────────────────────────────────────────────────

  get swarm(): MemorySwarm {
    return this.#swarm;
  }

  get truth(): ReadonlyMap<string, TrueFile> {
    return this.#truth;
  }

  get machines(): readonly SimulationMachine[] {
    return this.#machines;
  }

  below(limit: number): number {
    return this.#random.below(limit);
  }

  pick<T>(from: readonly T[]): T {
    const chosen = from[this.below(from.length)];
    if (chosen === undefined) throw new RangeError("Cannot pick from nothing");
    return chosen;
  }

  /** A machine whose peer runs; null if there is none. */
  anyRunning(isHonest = false): { machine: SimulationMachine; running: Running } | null {
    const machines = this.#machines.filter(({ running, options }) =>
      running && (!isHonest || options.lie === null)
    );
    if (machines.length === 0) return null;
    const machine = this.pick(machines);
    return { machine, running: machine.running! };
  }

  /** A file that nobody has yet. */
  makeFile(): TrueFile | null {
    if (this.#truth.size >= maxFiles) return null;
    const length = this.pick(fileLengths);
    const file = trueFile(this.#options.seed, ++this.#files, length);
    // The numbers that its bytes once were: the seeds of the tests keep their meaning.
    this.#random.skip(length);
    const hex = file.manifest.digest.toHex();
    if (!this.#truth.has(hex)) this.#truth.set(hex, file);
    return file;
  }

  startTracker(): void {
    if (this.#trackerClock && !this.#trackerClock.isDead) return;
    this.#trackerClock = new ProcessClock(this.#swarm.clock);
    this.#swarm.startTracker({ clock: this.#trackerClock, seed: this.below(2 ** 31) });
  }

  stopTracker(how: "closed" | "killed"): void {
    const { tracker, trackerEndpoints } = this.#swarm;
    const clock = this.#trackerClock;
    this.#trackerClock = null;
    if (how === "closed") return void tracker.close();
    clock?.kill();
    for (const endpoint of trackerEndpoints) endpoint.vanish();
  }

  get hasTracker(): boolean {
    return this.#trackerClock !== null;
  }

  // ── the parts of a run ───────────────────────────────────────────────────────────────────────────────────

  #machine(number: number): SimulationMachine {
    const lies: (Lie | null)[] = [null, null, null, null, null, "damages", "forges", "claims"];
    const lie = number === 1 ? null : this.pick(lies);
    return new SimulationMachine({
      swarm: this.#swarm,
      number,
      random: this.#random,
      rates: this.#rates(),
      lie,
      truth: this.#truth,
      onViolation: (text) => this.violate(text),
    });
  }

  #rates(): TransferRates {
    const choices = [0, 0, 0, 2_000_000, 100_000];
    return { up: this.pick(choices), down: this.pick(choices) };
  }

  #trouble(step: number): Trouble {
    if (step === 0) return takeOverTracker;
    const total = troubles.reduce((sum, [weight]) => sum + weight, 0);
    let left = this.below(total);
    for (const [weight, trouble] of troubles) {
      left -= weight;
      if (left < 0) return trouble;
    }
    return noTrouble;
  }

  #pauseMs(): number {
    return this.pick([0, 5, 50, 300, 1000, 1000, 3000, 3000, 10_000, 60_000]);
  }

  #check(): void {
    for (const { running, options, banned, ip } of this.#machines) {
      if (!running) continue;
      const connections = running.endpoints.reduce((sum, one) => sum + one.connections.size, 0);
      if (connections > maxConnectionsPerPeer) this.violate(`${ip} has ${connections} connections`);
      if (running.clock.pending > maxTimersArmed) {
        this.violate(`${ip} has ${running.clock.pending} timers armed`);
      }
      this.#countTimers(running.clock, ip);
      running.tracker.check("still announces");
      for (const peer of banned) {
        const other = this.#machines.find(({ shortId }) => shortId === peer);
        const isFair = other?.options.lie !== null;
        if (!isFair && options.lie === null) {
          this.violate(`${ip} dropped ${other.ip}, which is honest`);
        }
      }
    }
    this.#checkedAt = this.#swarm.clock.reading;
  }

  #countTimers(clock: ProcessClock, ip: string): void {
    const seconds = Math.max((this.#swarm.clock.reading - this.#checkedAt) / 1000, 1);
    const rate = (clock.fired - (this.#firedBefore.get(clock) ?? 0)) / seconds;
    this.#firedBefore.set(clock, clock.fired);
    this.#timersPerSecond = Math.max(this.#timersPerSecond, rate);
    if (rate > maxTimersPerSecond) this.violate(`${ip} fires ${Math.round(rate)} timers a second`);
  }

  async #recover(): Promise<void> {
    this.#log("recovery");
    const { clock, network } = this.#swarm;
    this.startTracker();
    for (const machine of this.#machines) calm(this, machine);
    Object.assign(network.settings, { latencyMs: 20, bytesPerSecond: 10_000_000 });
    // Until the tracker is found again, and whoever started without it has given up and starts once more.
    await clock.advance(2 * heartbeatMs);
    for (const machine of this.#machines) void machine.start();
    await clock.advance(2 * heartbeatMs);
    const expected = this.#askForAll();
    const deadline = clock.now() + recoveryMs;
    while (expected.some((wish) => !isGranted(wish)) && clock.now() < deadline) {
      await clock.advance(1000);
      this.#check();
      if (this.#violations.length > 0) return;
    }
    for (const { machine, digest } of expected) this.#expectComplete(machine, digest);
    this.#completed += expected.length;
  }

  /** Everybody asks for what is missing. Returns what must come. */
  #askForAll(): Wish[] {
    const expected: Wish[] = [];
    for (const machine of this.#machines) {
      if (machine.options.lie !== null) machine.wishes.clear();
      for (const digest of [...machine.wishes]) {
        if (!this.#isCovered(digest)) machine.cancel(digest);
        else {
          machine.get(this.listed(digest));
          expected.push({ machine, digest });
        }
      }
    }
    this.#log(
      `expects ${
        expected.map(({ machine, digest }) => `${machine.ip} ${this.truth.get(digest)?.name}`)
      }`,
    );
    return expected;
  }

  /** Whether honest peers that run hold all of the file between them, and its manifest. */
  #isCovered(digest: string): boolean {
    const { manifest } = this.#truth.get(digest)!;
    const covered = new Uint8Array(Math.ceil(chunkCountOf(manifest.length) / 8));
    for (const { running, options } of this.#machines) {
      if (!running || options.lie !== null) continue;
      if (running.store.holds(manifest.digest, null)) return true;
      for (const [index, bits] of running.store.begun(manifest.digest)?.held.entries() ?? []) {
        covered[index]! |= bits;
      }
    }
    return chunkCountOf(manifest.length) > 0 && isFull(covered, chunkCountOf(manifest.length));
  }

  #expectComplete(machine: SimulationMachine, digest: string): void {
    const status = machine.statusOf(digest);
    if (status?.state === "complete") return;
    const { name } = this.#truth.get(digest)!;
    const why = status
      ? `${status.state}, ${status.have}/${status.chunks}, ${status.error}`
      : "off";
    this.violate(`${machine.ip} never completed ${name}: ${why}`);
  }

  listed(digest: string): ListedFile {
    const { name, manifest: { length } } = this.#truth.get(digest)!;
    return { digest, name, length, chunks: chunkCountOf(length), seeders: 1, leechers: 0 };
  }

  async #rest(): Promise<void> {
    this.#log("rest");
    const { clock } = this.#swarm;
    for (const machine of this.#machines) {
      for (const { digest } of machine.running?.node.status().downloads ?? []) {
        machine.running?.node.cancel(digest);
      }
    }
    await clock.advance(restMs);
    this.#check();
    await this.#compareList();
    for (let waited = 0; waited < maxUnrestMs && !this.#areAllAtRest(); waited += unrestStepMs) {
      await clock.advance(unrestStepMs);
    }
    for (const { running, ip } of this.#machines) {
      if (!running) continue;
      const connections = connectionsOf(running);
      if (connections > maxConnectionsAtRest) {
        this.violate(`${ip} rests with ${connections} connections`);
      }
      const { pending } = running.clock;
      if (pending > maxTimersAtRest) this.violate(`${ip} rests with ${pending} timers armed`);
    }
  }

  #areAllAtRest(): boolean {
    return this.#machines.every(({ running }) =>
      !running || connectionsOf(running) <= maxConnectionsAtRest
    );
  }

  /** The tracker knows exactly what the peers hold. */
  async #compareList(): Promise<void> {
    const asker = this.#machines.find(({ running }) => running);
    if (!asker?.running) return;
    const rows = await this.#swarm.clock.run(asker.running.node.list(), 20_000);
    const listed = new Map(rows.map((row) => [row.digest, `${row.seeders}+${row.leechers}`]));
    const expected = this.#expectedList();
    for (const digest of new Set([...listed.keys(), ...expected.keys()])) {
      const name = this.#truth.get(digest)?.name ?? digest;
      const [is, should] = [listed.get(digest) ?? "nothing", expected.get(digest) ?? "nothing"];
      if (is !== should) this.violate(`the tracker lists ${name} as ${is}, not ${should}`);
    }
  }

  #expectedList(): Map<string, string> {
    const counts = new Map<string, { seeders: number; leechers: number }>();
    const countOf = (digest: Uint8Array) => {
      const hex = digest.toHex();
      const count = counts.get(hex) ?? { seeders: 0, leechers: 0 };
      counts.set(hex, count);
      return count;
    };
    for (const { running, options } of this.#machines) {
      const seeded = options.lie === "claims"
        ? running?.tracker.announced.values() ?? []
        : running?.store.files() ?? [];
      for (const { digest } of seeded) countOf(digest).seeders++;
      if (options.lie === "claims") continue;
      for (const { digest, manifest } of running?.store.partials() ?? []) {
        if (manifest && !running!.store.holds(digest, null)) countOf(digest).leechers++;
      }
    }
    return new Map(
      [...counts].map(([hex, { seeders, leechers }]) => [hex, `${seeders}+${leechers}`]),
    );
  }

  #log(line: string | null): void {
    if (line) this.#options.onLog?.(`${(this.#swarm.clock.reading / 1000).toFixed(3)} ${line}`);
  }
}

interface Wish {
  machine: SimulationMachine;
  digest: string;
}

function connectionsOf({ endpoints }: Running): number {
  return endpoints.reduce((sum, { connections }) => sum + connections.size, 0);
}

function isGranted({ machine, digest }: Wish): boolean {
  return machine.statusOf(digest)?.state === "complete";
}

function stackOf(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : messageOf(error);
}

// ── troubles ───────────────────────────────────────────────────────────────────────────────────────────────

/** How often each comes, relative to the others, and what it does. Each says what it did; null for nothing. */
const troubles: readonly [number, Trouble][] = [
  [20, get],
  [5, cancel],
  [5, addFile],
  [3, copyFile],
  [3, dropFile],
  [5, silence],
  [8, restore],
  [6, cutConnection],
  [4, changeLatency],
  [3, stopTracker],
  [5, startTracker],
  [5, crash],
  [8, startMachine],
  [2, quit],
  [3, fillDisk],
  [4, emptyDisk],
  [3, slowDisk],
  [3, sleep],
  [5, wake],
  [2, rescan],
  [10, noTrouble],
];

function noTrouble(): null {
  return null;
}

/** From here on it runs on a clock that can be stopped. */
function takeOverTracker(simulation: Simulation): string {
  simulation.stopTracker("closed");
  for (const endpoint of simulation.swarm.trackerEndpoints) endpoint.vanish();
  simulation.startTracker();
  return "the tracker is restarted";
}

function get(simulation: Simulation): string | null {
  const chosen = simulation.anyRunning(true);
  if (!chosen || chosen.running.clock.isAsleep || simulation.truth.size === 0) return null;
  const { machine, running } = chosen;
  if (running.tracker.state === "idle" || running.tracker.state === "closed") return null;
  const file = simulation.listed(simulation.pick([...simulation.truth.keys()]));
  if (!running.isStarted) return null;
  machine.get(file);
  return `${machine.ip} gets ${file.name}`;
}

function cancel(simulation: Simulation): string | null {
  const chosen = simulation.anyRunning();
  const digest = [...chosen?.machine.wishes ?? []].at(-1);
  if (!chosen || !digest) return null;
  chosen.machine.cancel(digest);
  return `${chosen.machine.ip} cancels ${simulation.truth.get(digest)?.name}`;
}

function addFile(simulation: Simulation): string | null {
  const chosen = simulation.anyRunning();
  const file = simulation.makeFile();
  if (!chosen || !file) return null;
  chosen.running.store.put(file.name, file.bytes);
  for (const { running, options } of simulation.machines) {
    if (options.lie === "claims") void running?.node.rescan();
  }
  return `${chosen.machine.ip} adds ${file.name} of ${file.bytes.length} bytes`;
}

/** Somebody brings a file along in another way. */
function copyFile(simulation: Simulation): string | null {
  const chosen = simulation.anyRunning();
  const file = [...simulation.truth.values()][simulation.below(simulation.truth.size || 1)];
  if (!chosen || !file) return null;
  chosen.running.store.put(`copy of ${file.name}`, file.bytes);
  return `${chosen.machine.ip} is given ${file.name}`;
}

function dropFile(simulation: Simulation): string | null {
  const chosen = simulation.anyRunning();
  const name = chosen?.running.store.salvage().files[0]?.name;
  if (!chosen || !name) return null;
  chosen.running.store.drop(name);
  return `${chosen.machine.ip} removes ${name}`;
}

function silence(simulation: Simulation): string {
  const ip = simulation.below(6) === 0
    ? simulation.swarm.trackerEndpoints[0]!.local.ip
    : simulation.pick(simulation.machines).ip;
  simulation.swarm.network.silence(ip);
  return `${ip} falls silent`;
}

function restore(simulation: Simulation): string | null {
  const { network, trackerEndpoints } = simulation.swarm;
  const ips = [...simulation.machines.map(({ ip }) => ip), trackerEndpoints[0]!.local.ip];
  const silent = ips.filter((ip) => network.isSilent(ip));
  if (silent.length === 0) return null;
  const ip = simulation.pick(silent);
  network.restore(ip);
  return `${ip} is heard again`;
}

function cutConnection(simulation: Simulation): string | null {
  const chosen = simulation.anyRunning();
  if (!chosen) return null;
  simulation.pick(chosen.running.endpoints).cutOne({
    below: (limit) => simulation.below(limit),
    bytes: (count) => new Uint8Array(count),
  });
  return `a connection of ${chosen.machine.ip} is cut`;
}

function changeLatency(simulation: Simulation): string {
  const latencyMs = simulation.pick([0, 1, 20, 200, 1500]);
  const bytesPerSecond = simulation.pick([Infinity, 10_000_000, 1_000_000, 100_000]);
  Object.assign(simulation.swarm.network.settings, { latencyMs, bytesPerSecond });
  return `latency ${latencyMs} ms, ${bytesPerSecond} bytes/s`;
}

function stopTracker(simulation: Simulation): string | null {
  if (!simulation.hasTracker) return null;
  const how = simulation.pick(["closed", "killed"] as const);
  simulation.stopTracker(how);
  // A port is free as soon as its process is gone.
  for (const endpoint of simulation.swarm.trackerEndpoints) {
    simulation.swarm.network.remove(endpoint.kind, endpoint.local);
  }
  return `the tracker is ${how}`;
}

function startTracker(simulation: Simulation): string | null {
  if (simulation.hasTracker) return null;
  simulation.startTracker();
  return "the tracker starts";
}

function crash(simulation: Simulation): string | null {
  const chosen = simulation.anyRunning();
  if (!chosen) return null;
  const how = simulation.pick(["killed", "power cut"] as const);
  chosen.machine.crash(how);
  return `${chosen.machine.ip}: ${how}`;
}

function startMachine(simulation: Simulation): string | null {
  const off = simulation.machines.filter(({ running }) => !running);
  if (off.length === 0) return null;
  const machine = simulation.pick(off);
  void machine.start();
  return `${machine.ip} starts`;
}

function quit(simulation: Simulation): string | null {
  const chosen = simulation.anyRunning();
  if (!chosen || chosen.running.clock.isAsleep || !chosen.machine.quit()) return null;
  return `${chosen.machine.ip} quits`;
}

function fillDisk(simulation: Simulation): string {
  const machine = simulation.pick(simulation.machines);
  machine.fillDisk(true);
  return `the disk of ${machine.ip} is full`;
}

function emptyDisk(simulation: Simulation): string {
  const machine = simulation.pick(simulation.machines);
  machine.fillDisk(false);
  return `the disk of ${machine.ip} has room`;
}

function slowDisk(simulation: Simulation): string {
  const machine = simulation.pick(simulation.machines);
  machine.disk.delayMs = simulation.pick([0, 5, 50, 2000]);
  return `the disk of ${machine.ip} takes ${machine.disk.delayMs} ms`;
}

/** The lid is closed: its timers stand still, and nobody hears of it. */
function sleep(simulation: Simulation): string | null {
  const chosen = simulation.anyRunning();
  if (!chosen) return null;
  chosen.running.clock.sleep();
  simulation.swarm.network.silence(chosen.machine.ip);
  return `${chosen.machine.ip} sleeps`;
}

function wake(simulation: Simulation): string | null {
  const asleep = simulation.machines.find(({ running }) => running?.clock.isAsleep);
  if (!asleep) return null;
  simulation.swarm.network.restore(asleep.ip);
  asleep.running?.clock.wake();
  return `${asleep.ip} wakes`;
}

function rescan(simulation: Simulation): string | null {
  const chosen = simulation.anyRunning();
  if (!chosen) return null;
  void chosen.running.node.rescan();
  return `${chosen.machine.ip} rescans`;
}

/** Ends all faults of a machine, and starts it. */
function calm(simulation: Simulation, machine: SimulationMachine): void {
  const { network, trackerEndpoints } = simulation.swarm;
  for (const ip of [machine.ip, trackerEndpoints[0]!.local.ip]) network.restore(ip);
  machine.running?.clock.wake();
  machine.fillDisk(false);
  machine.disk.delayMs = 5;
  void machine.start();
}
