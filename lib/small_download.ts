/**
 * One file of one chunk that is to come on the short way (`small_downloads.ts`), or with all means when that fails. For
 * whoever asked, a download as any other.
 */
import type { Download as DownloadHandle, DownloadStatus, ListedFile, Via } from "./control.ts";
import type { DownloadTask, Swarm } from "./download_task.ts";
import { messageOf, type UserError } from "./errors.ts";
import { decodeId } from "./identity.ts";
import type { Manifest } from "./manifest.ts";
import type { LinkEvent, PeerLink } from "./peer_link.ts";

export type SmallState =
  | { name: "waiting" }
  | { name: "asked"; link: PeerLink; at: number }
  /** With all means. */
  | { name: "handed-over"; task: DownloadTask }
  | { name: "ended"; status: DownloadStatus };

/** Whoever asks for them, and lets others do what went wrong. */
export interface SmallOwner {
  /** Asks for as much as may be asked for. */
  pump(): void;
  /** The file came, or was refused, or isn't wanted any more. */
  settle(download: SmallDownload, outcome: "came" | "refused" | "dropped"): void;
  /** The peer has too much to do. */
  noteBusy(link: PeerLink): void;
  /** Asks for it again, of anybody. */
  wait(download: SmallDownload): void;
  /** Has it downloaded with all means. */
  handOver(download: SmallDownload): DownloadTask;
  /** The path of a file that has come. */
  pathOf(digest: Uint8Array): string | null;
}

interface Surroundings {
  swarm: Swarm;
  owner: SmallOwner;
}

export class SmallDownload implements DownloadHandle {
  readonly file: ListedFile;
  readonly manifest: Manifest;
  readonly done: Promise<DownloadStatus>;
  state: SmallState = { name: "waiting" };
  readonly #swarm: Swarm;
  readonly #owner: SmallOwner;
  readonly #startedAt: number;
  #resolveDone: (status: DownloadStatus) => void = () => {};

  constructor(file: ListedFile, { swarm, owner }: Surroundings) {
    this.file = file;
    const digest = Uint8Array.fromHex(file.digest);
    this.manifest = { digest, length: file.length, name: file.name, hashes: digest };
    this.#swarm = swarm;
    this.#owner = owner;
    this.#startedAt = swarm.clock.now();
    this.done = new Promise((resolve) => this.#resolveDone = resolve);
  }

  get digest(): Uint8Array {
    return this.manifest.digest;
  }

  get isEnded(): boolean {
    return this.state.name === "ended" || (this.#task?.isEnded ?? false);
  }

  /** Of whom it was asked; null unless it is owed. */
  get link(): PeerLink | null {
    return this.state.name === "asked" ? this.state.link : null;
  }

  status(): DownloadStatus {
    if (this.state.name === "ended") return this.state.status;
    return this.#task?.status() ?? this.#statusOf({});
  }

  cancel(): void {
    if (this.#task) return this.#task.cancel();
    if (this.isEnded) return;
    this.link?.cancelChunk(this.digest, 0);
    this.#owner.settle(this, "dropped");
    this.#shareWhatCame();
    this.#end(this.#statusOf({ state: "cancelled" }));
  }

  /** From here on the task is what happens. */
  follow(task: DownloadTask): void {
    this.state = { name: "handed-over", task };
    void task.done.then((status) => this.#end(status));
  }

  linkUp(link: PeerLink): void {
    this.#task?.linkUp(link);
  }

  noteWanted(link: PeerLink): void {
    this.#task?.noteWanted(link);
  }

  linkDown(link: PeerLink): void {
    this.#task?.linkDown(link);
  }

  noteObstacle(reason: string): void {
    this.#task?.noteObstacle(reason);
  }

  approachAgain(link: PeerLink): boolean {
    if (this.#task) return this.#task.approachAgain(link);
    if (this.link !== link) return false;
    const introducing = this.#swarm.introduce(this.digest, decodeId(link.peer));
    void introducing.catch((error) => this.noteObstacle(messageOf(error)));
    return true;
  }

  /** The file has come into the directory in another way. */
  async noteWhole(): Promise<void> {
    if (this.isEnded) return;
    if (!this.#task) this.#giveUp();
    await this.#task?.noteWhole();
  }

  wants(chunk: number): boolean {
    return this.#task?.wants(chunk) ?? !this.isEnded;
  }

  handleLinkEvent(link: PeerLink, event: LinkEvent): void {
    if (this.#task) return this.#task.handleLinkEvent(link, event);
    switch (event.type) {
      case "stored":
        return this.#noteStored(link, event);
      case "unstorable":
        return this.#fail(event.error);
      case "rejected":
        if (event.reason === "busy") return this.#noteBusy(link);
        return this.#noteRefused(link, event);
      case "corrupt":
      case "lacking":
        return this.#noteRefused(link, event);
    }
  }

  get #task(): DownloadTask | null {
    return this.state.name === "handed-over" ? this.state.task : null;
  }

  #noteStored(link: PeerLink, event: LinkEvent): void {
    const path = this.#owner.pathOf(this.digest);
    if (path === null) return this.#noteRefused(link, event);
    this.#owner.settle(this, "came");
    this.#swarm.combined(this.manifest, path);
    const source = {
      peer: link.peer,
      connected: true,
      via: link.via,
      roundTripMs: link.roundTripMs,
    };
    this.#end(this.#statusOf({ state: "complete", path, have: 1, source }));
    this.#owner.pump();
  }

  #noteBusy(link: PeerLink): void {
    if (this.link !== link) return;
    this.#owner.noteBusy(link);
    this.#owner.wait(this);
  }

  #noteRefused(link: PeerLink, event: LinkEvent): void {
    if (this.link !== link) return;
    this.#owner.settle(this, "refused");
    const task = this.#owner.handOver(this);
    // It must know whom not to ask, or that it is there.
    void Promise.resolve().then(() => task.handleLinkEvent(link, event));
    this.#owner.pump();
  }

  #giveUp(): void {
    this.#owner.settle(this, "dropped");
    this.#owner.handOver(this);
  }

  #fail(error: UserError): void {
    this.#owner.settle(this, "dropped");
    this.#shareWhatCame();
    this.#end({
      ...this.#statusOf({ state: "failed" }),
      error: error.message,
      errorCode: error.code,
    });
    this.#owner.pump();
  }

  /** It may lie there before its coming is told of. */
  #shareWhatCame(): void {
    const path = this.#owner.pathOf(this.digest);
    if (path !== null) this.#swarm.combined(this.manifest, path);
  }

  #end(status: DownloadStatus): void {
    if (this.state.name === "ended") return;
    this.state = { name: "ended", status };
    this.#resolveDone(status);
  }

  #statusOf({ state, path, have = 0, source }: Outcome): DownloadStatus {
    const { digest, name, length } = this.file;
    return {
      digest,
      name,
      length,
      chunks: 1,
      have,
      resumed: 0,
      state: state ?? (this.state.name === "asked" ? "downloading" : "locating"),
      bytesPerSecond: 0,
      seconds: (this.#swarm.clock.now() - this.#startedAt) / 1000,
      sources: source ? [{ ...source, chunks: 1, bytesPerSecond: 0 }] : [],
      path: path ?? null,
      error: null,
    };
  }
}

interface Outcome {
  state?: DownloadStatus["state"];
  path?: string;
  have?: number;
  source?: { peer: string; connected: boolean; via: Via; roundTripMs: number | null };
}
