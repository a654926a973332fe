/**
 * A peer: shares what the store holds, downloads what its user asks for, and keeps the tracker informed of both.
 * It knows the store, the tracker, the connector and the links only by their interfaces, so that whole swarms run
 * in memory under a virtual clock.
 */
import { Adoptions } from "./adoptions.ts";
import { countBits, isFull } from "./bitfield.ts";
import { Catalogue } from "./catalogue.ts";
import { chunkCountOf } from "./chunk_layout.ts";
import { Connector, type Traversal } from "./connector.ts";
import type { Established, Introduction, Nomination } from "./introduced_pair.ts";
import { LinkTable } from "./link_table.ts";
import type {
  Download,
  Holder,
  ListedFile,
  Notice,
  PathInUse,
  PeerControl,
  PeerStatus,
  ScanSummary,
  SharedFile,
} from "./control.ts";
import { formatAddress } from "./address.ts";
import { DownloadTask, type Swarm } from "./download_task.ts";
import type { SmallDownload } from "./small_download.ts";
import { SmallDownloads } from "./small_downloads.ts";
import { messageOf } from "./errors.ts";
import { encodeId, type Identity } from "./identity.ts";
import { LengthProofs } from "./length_proof.ts";
import type { Manifest } from "./manifest.ts";
import { type LinkEnd, type LinkEvent, PeerLink } from "./peer_link.ts";
import type { Clock, Connection, Endpoint, Random, Timer } from "./ports.ts";
import type { ChunkStore, PartialFile, StoreChanges } from "./store.ts";
import type { TrackerLink } from "./tracker_link.ts";
import type { HolderRow } from "./tracker_messages.ts";
import { holdersOf, listedFiles } from "./tracker_view.ts";
import { TransferLimits, type TransferRates } from "./transfer_limits.ts";

/** Files of one chunk that are downloaded with all means at once; how many larger ones are, `download_queue` says. */
const maxActiveSmall = 256;
const maxLinks = 512;
/** Protocol errors after which a peer is not dealt with any more. */
const maxMisbehaviour = 3;
const maxBanned = 4096;
const housekeepingMs = 5000;
/** How long an introduction is given to lead to something before another is asked for. */
const introductionMs = 2000;
const idleLinkMs = 60_000;
/** How long the tracker isn't told of a small file that came: others may come at the same time. */
const tellMs = 100;
const adoptionMs = 30_000;

type Task = DownloadTask | SmallDownload;

export interface PeerNodeOptions {
  identity: Identity;
  endpoints: Endpoint[];
  store: ChunkStore;
  tracker: TrackerLink;
  traversal: Traversal;
  /** The join link, as text. */
  link: string;
  rates: TransferRates;
  clock: Clock;
  random: Random;
  onNotice?: (notice: Notice) => void;
  /** What else ends when the peer quits: a carried tracker, say. */
  onQuit?: () => Promise<void>;
}

export class PeerNode implements PeerControl {
  readonly #options: PeerNodeOptions;
  readonly #self: string;
  readonly #catalogue = new Catalogue();
  readonly #connector: Connector;
  readonly #limits: TransferLimits;
  readonly #proofs: LengthProofs;
  readonly #links = new LinkTable();
  /** By digest: the running ones, and those that ended, for `status`. */
  readonly #downloads = new Map<string, Task>();
  readonly #adoptions: Adoptions;
  readonly #waitingSmall: DownloadTask[] = [];
  /** Null if the store can't take files in whole. */
  readonly #small: SmallDownloads | null;
  /** Set while the tracker is to be told of files that came. */
  #tellTimer: Timer | null = null;
  /** When each peer was last asked to be introduced. */
  readonly #introducedAt = new Map<string, number>();
  readonly #misbehaviour = new Map<string, number>();
  readonly #banned = new Set<string>();
  readonly #listeners: ((notice: Notice) => void)[] = [];
  readonly #pathListeners: ((path: PathInUse) => void)[] = [];
  #timer: Timer | null = null;
  #activeSmall = 0;
  #adoptedAt = -Infinity;
  #quitting: Promise<void> | null = null;

  constructor(options: PeerNodeOptions) {
    this.#options = options;
    this.#self = encodeId(options.identity.id);
    this.#limits = new TransferLimits(options.clock, options.rates);
    this.#proofs = new LengthProofs(options.store);
    this.#small = this.#newSmallDownloads(options.store);
    this.#adoptions = new Adoptions({
      swarm: this.#swarm(),
      list: () => this.list(),
      isDownloading: (digest) => this.#runningDownload(digest) !== undefined,
    });
    if (options.onNotice) this.#listeners.push(options.onNotice);
    this.#connector = new Connector({
      ...options,
      isBanned: (peer) => this.#banned.has(peer),
      onOpened: (established) => this.#addLink(established),
      onNominated: (connection, nomination) => this.#nominate(connection, nomination),
      onSurplus: (connection) => this.#links.of(connection)?.retire(),
      onUnreachable: (peer, reasons) => this.#noteUnreachable(peer, reasons),
    });
  }

  /** Begins to share. Call once, when the tracker link is connected. */
  start(): void {
    const { store, tracker, clock } = this.#options;
    this.#catalogue.setFiles(store.files(), store.partials());
    store.onChange((changes) => this.#applyChanges(changes));
    store.onWarning((text) => this.#notify("warning", text));
    tracker.listen({
      onIntroduction: (introduction) => this.#connector.handleIntroduction(introduction),
      onRelayed: (token, address) => this.#connector.handleRelayed(token, address),
      onLost: (reason) => this.#notify("warning", `lost the tracker, trying again: ${reason}`),
      onJoined: () => this.#notify("info", "the tracker is back"),
      onWarning: (text) => this.#notify("warning", text),
    });
    this.#connector.start();
    tracker.announce(this.#catalogue.announcements());
    this.#timer = clock.setTimer(0, () => this.#keepHouse());
  }

  // ── PeerControl ──────────────────────────────────────────────────────────────────────────────────────────

  async list(): Promise<ListedFile[]> {
    return listedFiles(await this.#options.tracker.list());
  }

  async holders(digest: string): Promise<Holder[]> {
    return holdersOf(await this.#options.tracker.holders(Uint8Array.fromHex(digest)));
  }

  download(file: ListedFile): Download {
    const known = this.#runningDownload(file.digest);
    if (known) return known;
    this.#adoptions.cancel(file.digest);
    const isSmall = file.chunks === 1 && this.#small !== null;
    const task = isSmall ? this.#small.download(file) : this.#startTask(file);
    this.#downloads.delete(file.digest);
    this.#downloads.set(file.digest, task);
    return task;
  }

  cancel(digest: string): boolean {
    const task = this.#downloads.get(digest);
    if (!task || task.isEnded) return false;
    task.cancel();
    return true;
  }

  status(): PeerStatus {
    const { tracker, link } = this.#options;
    const totals = this.#catalogue.totals();
    return {
      peer: this.#self,
      link,
      address: tracker.observed ? formatAddress(tracker.observed) : null,
      tracker: tracker.via ? "connected" : "connecting",
      trackerVia: tracker.via,
      ...totals,
      downloads: [...this.#downloads.values()].map((task) => task.status()),
      uploads: this.#uploads(),
    };
  }

  shared(limit: number): SharedFile[] {
    return this.#catalogue.first(limit).map(({ digest, names, length, held }) => {
      const chunks = chunkCountOf(length);
      const have = held === null ? chunks : countBits(held);
      return { digest: digest.toHex(), names, length, chunks, have };
    });
  }

  heldChunks(digest: string): Uint8Array | null {
    return this.#catalogue.bitfield(Uint8Array.fromHex(digest));
  }

  async rescan(): Promise<ScanSummary> {
    const { added, changed, removed, ...changes } = await this.#options.store.rescan();
    this.#applyChanges(changes);
    return { files: this.#catalogue.totals().files, added, changed, removed };
  }

  onNotice(listener: (notice: Notice) => void): void {
    this.#listeners.push(listener);
  }

  onConnected(listener: (path: PathInUse) => void): void {
    this.#pathListeners.push(listener);
  }

  quit(): Promise<void> {
    return this.#quitting ??= this.#quit();
  }

  async #quit(): Promise<void> {
    const { tracker, store, endpoints, onQuit } = this.#options;
    this.#timer?.cancel();
    this.#tellTimer?.cancel();
    for (const task of this.#tasks()) task.cancel();
    await tracker.goodbye();
    this.#connector.close();
    for (const link of this.#links.all()) link.close("this peer quits");
    await Promise.all(endpoints.map((endpoint) => endpoint.close()));
    await store.close();
    await onQuit?.();
  }

  // ── sharing ──────────────────────────────────────────────────────────────────────────────────────────────

  #applyChanges(changes: StoreChanges): void {
    this.#catalogue.apply(changes);
    this.#tellTracker();
    for (const { digest } of changes.announced) {
      for (const link of this.#links.all()) link.tellHolding(digest);
      void this.#taskOf(digest)?.noteWhole();
    }
  }

  #tellTracker(): void {
    const { tracker } = this.#options;
    const { announce, have, withdraw } = this.#catalogue.drain();
    if (withdraw.length > 0) tracker.withdraw(withdraw);
    if (announce.length > 0) tracker.announce(announce);
    for (const { digest, chunks } of have) for (const chunk of chunks) tracker.have(digest, chunk);
  }

  #uploads(): PeerStatus["uploads"] {
    const uploads = this.#links.all().map(({ peer, via, uploaded }) => ({
      peer,
      via,
      ...uploaded,
    }));
    return uploads.filter(({ chunks, bytesPerSecond }) => chunks > 0 || bytesPerSecond > 0);
  }

  // ── links ────────────────────────────────────────────────────────────────────────────────────────────────

  #addLink(established: Established): void {
    const { connection, joined, peer, dialled } = established;
    const isRefused = this.#quitting !== null || this.#banned.has(peer);
    if (isRefused || this.#links.size >= maxLinks) return connection.close();
    const { clock, store } = this.#options;
    const link: PeerLink = new PeerLink({
      connection,
      stream: joined.stream,
      peer,
      dialled,
      clock,
      store,
      limits: this.#limits,
      holdings: this.#catalogue,
      proofs: this.#proofs,
      wants: (digest, chunk) => this.#taskOf(digest)?.wants(chunk) ?? false,
      onEvent: (event) => this.#handleLinkEvent(link, event),
      onDoubt: () => this.#lookForAnotherPath(link),
      onEnd: (end) => this.#removeLink(connection, { link, end }),
    });
    this.#links.add(connection, link);
    link.start();
  }

  #nominate(connection: Connection, { via, why, milliseconds }: Nomination): void {
    const link = this.#links.of(connection);
    if (!link) return;
    link.nominate(via, why);
    const { peer } = link;
    const replaces = this.#links.to(peer)?.via ?? null;
    if (!this.#links.choose(link)) return;
    const { kind: transport, remote } = connection;
    const path = { peer, via, transport, address: formatAddress(remote), milliseconds, replaces };
    const whole = why === null ? path : { ...path, whyRelayed: why };
    for (const listener of this.#pathListeners) listener(whole);
    this.#useLink(link);
  }

  #useLink(link: PeerLink): void {
    for (const task of this.#tasks()) task.linkUp(link);
    this.#small?.pump();
  }

  #handleLinkEvent(link: PeerLink, event: LinkEvent): void {
    const digest = event.type === "manifest" ? event.manifest.digest : event.digest;
    const task = this.#taskOf(digest);
    // A chunk that was being verified when its download ended is held all the same.
    if (!task && event.type === "stored") this.#noteStored(digest, event.chunk);
    if (!task) return;
    // Who wants the file that is being downloaded here may have other chunks of it.
    if (event.type === "wanted") task.noteWanted(this.#links.to(link.peer) ?? link);
    else task.handleLinkEvent(link, event);
  }

  /**
   * A NAT that has forgotten the path is not noticed by QUIC for long. Whoever asks on the link has the tracker
   * introduce both sides afresh; either side lets the tracker see its present address.
   */
  #lookForAnotherPath(link: PeerLink): void {
    if (this.#links.to(link.peer) !== link) return;
    this.#options.tracker.checkIn();
    for (const task of this.#tasks()) if (task.approachAgain(link)) return;
  }

  #removeLink(connection: Connection, { link, end }: { link: PeerLink; end: LinkEnd }): void {
    const next = this.#links.remove(connection);
    if (end.misbehaved) this.#noteMisbehaviour(link.peer, end.text);
    for (const task of this.#tasks()) task.linkDown(link);
    this.#small?.linkDown(link);
    if (next) this.#useLink(next);
  }

  #noteMisbehaviour(peer: string, text: string): void {
    const count = (this.#misbehaviour.get(peer) ?? 0) + 1;
    if (this.#misbehaviour.size < maxBanned) this.#misbehaviour.set(peer, count);
    if (count >= maxMisbehaviour) this.#ban(peer, text);
  }

  #ban(peer: string, reason: string): void {
    if (this.#banned.has(peer)) return;
    if (this.#banned.size < maxBanned) this.#banned.add(peer);
    this.#notify("warning", `peer ${peer.slice(0, 8)} ${reason}: not asked again`);
    for (const link of this.#links.allTo(peer)) link.close(reason);
  }

  #noteUnreachable(peer: string, reasons: string[]): void {
    for (const task of this.#tasks()) {
      task.noteObstacle(`peer ${peer.slice(0, 8)}: ${reasons.join("; ")}`);
    }
  }

  // ── downloads ────────────────────────────────────────────────────────────────────────────────────────────

  #newSmallDownloads({ wholes }: ChunkStore): SmallDownloads | null {
    if (!wholes) return null;
    const swarm = {
      ...this.#swarm(),
      combined: (manifest: Manifest, path: string) => this.#noteWhole(manifest, path),
    };
    return new SmallDownloads({ swarm, wholes, handOver: (file) => this.#startTask(file) });
  }

  /** Starts it: a small one in its turn. */
  #startTask(file: ListedFile): DownloadTask {
    const task = new DownloadTask(file, this.#swarm());
    if (!task.isSmall) {
      void task.start();
      return task;
    }
    this.#waitingSmall.push(task);
    this.#startSmall();
    return task;
  }

  #taskOf(digest: Uint8Array): Task | undefined {
    const hex = digest.toHex();
    return this.#runningDownload(hex) ?? this.#adoptions.taskOf(hex);
  }

  #runningDownload(digest: string): Task | undefined {
    const download = this.#downloads.get(digest);
    return download?.isEnded ? undefined : download;
  }

  #tasks(): Task[] {
    const all = [...this.#downloads.values(), ...this.#adoptions.tasks()];
    return all.filter((task) => !task.isEnded);
  }

  #startSmall(): void {
    while (this.#activeSmall < maxActiveSmall) {
      const task = this.#waitingSmall.shift();
      if (!task) return;
      if (task.isEnded) continue;
      this.#activeSmall++;
      void task.done.then(() => {
        this.#activeSmall--;
        this.#startSmall();
      });
      void task.start();
    }
  }

  #swarm(): Swarm {
    const { clock, random, store } = this.#options;
    return {
      clock,
      random,
      store,
      self: this.#self,
      holders: (digest) => this.#holders(digest),
      linkTo: (peer) => this.#links.to(peer),
      links: () => this.#links.chosen(),
      introduce: (digest, peer) => this.#introduce(digest, peer),
      proven: (digest, proof) => this.#proofs.keep(digest, proof),
      began: (partial) => this.#noteBegun(partial),
      stored: (digest, chunk) => this.#noteStored(digest, chunk),
      combined: (manifest, path) => this.#noteCombined(manifest, path),
      ban: (peer, reason) => this.#ban(peer, reason),
    };
  }

  /** Those that may be asked. */
  async #holders(digest: Uint8Array): Promise<HolderRow[]> {
    const rows = await this.#options.tracker.holders(digest);
    return rows.filter(({ peer }) => !this.#banned.has(encodeId(peer)));
  }

  /** Downloads that want the same peer at the same time are content with one introduction. */
  async #introduce(digest: Uint8Array, peer: Uint8Array): Promise<void> {
    const id = encodeId(peer);
    const now = this.#options.clock.now();
    const isUnderWay = now - (this.#introducedAt.get(id) ?? -Infinity) < introductionMs;
    if (this.#banned.has(id) || isUnderWay) return;
    this.#introducedAt.set(id, now);
    try {
      await this.#options.traversal.settled?.();
      const introduction: Introduction = await this.#options.tracker.introduce(digest, peer);
      this.#connector.handleIntroduction(introduction);
    } catch (error) {
      this.#introducedAt.delete(id);
      throw error;
    }
  }

  #noteBegun(partial: PartialFile): void {
    this.#catalogue.setPartial(partial);
    this.#tellTracker();
  }

  #noteStored(digest: Uint8Array, chunk: number): void {
    this.#catalogue.markChunk(digest, chunk);
    this.#tellTracker();
    for (const link of this.#links.all()) link.tellStored(digest, chunk);
  }

  #noteCombined(manifest: Manifest, path: string): void {
    if (this.#addComplete(manifest, path)) this.#tellTracker();
  }

  /** One of many that come at the same time: the tracker is told of some together. */
  #noteWhole(manifest: Manifest, path: string): void {
    if (!this.#addComplete(manifest, path)) return;
    for (const link of this.#links.all()) link.tellStored(manifest.digest, 0);
    this.#tellTimer ??= this.#options.clock.setTimer(tellMs, () => {
      this.#tellTimer = null;
      this.#tellTracker();
    });
  }

  /** False if that is no news, or the file was removed before its name was on the disk for good. */
  #addComplete({ digest, length }: Manifest, path: string): boolean {
    if (this.#catalogue.get(digest)?.held === null || !this.#options.store.has(digest)) {
      return false;
    }
    this.#catalogue.completeFile({ digest, length, names: [path] });
    return true;
  }

  // ── housekeeping ─────────────────────────────────────────────────────────────────────────────────────────

  #keepHouse(): void {
    const now = this.#options.clock.now();
    for (const link of this.#links.all()) {
      if (link.idleSince !== null && now - link.idleSince >= idleLinkMs) link.close("it was idle");
    }
    for (const [peer, at] of this.#introducedAt) {
      if (now - at >= introductionMs) this.#introducedAt.delete(peer);
    }
    if (now - this.#adoptedAt >= adoptionMs) {
      this.#adoptedAt = now;
      void this.#adopt().catch((error) => this.#notify("warning", messageOf(error)));
    }
    this.#timer = this.#options.clock.setTimer(housekeepingMs, () => this.#keepHouse());
  }

  /** Incomplete files that need no more than a manifest, or nothing more at all. */
  async #adopt(): Promise<void> {
    const partials = this.#options.store.partials();
    for (const { manifest, held } of partials) {
      if (!manifest || !isFull(held, chunkCountOf(manifest.length))) continue;
      if (!this.#taskOf(manifest.digest)) await this.#combine(manifest);
    }
    const orphans = partials.filter(({ manifest }) => manifest === null);
    await this.#adoptions.seek(orphans.map(({ digest }) => digest));
  }

  /** All chunks were there at the start: the peer was ended just before it combined them. */
  async #combine(manifest: Manifest): Promise<void> {
    const path = await this.#options.store.combine(manifest.digest);
    this.#noteCombined(manifest, path);
  }

  #notify(level: Notice["level"], text: string): void {
    for (const listener of this.#listeners) listener({ level, text });
  }
}
