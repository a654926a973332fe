/**
 * Answers what the other side of a link asks about files: which chunks are here, and for the manifest. What is asked
 * for together is answered together.
 */
import { chunkCountOf } from "./chunk_layout.ts";
import type { Holdings } from "./chunk_sender.ts";
import { ProtocolError } from "./errors.ts";
import type { FramedStream } from "./framed_stream.ts";
import { type LengthProof, type LengthProofs, noProof } from "./length_proof.ts";
import type { Manifest } from "./manifest.ts";
import { encodePeerMessage, type WholePeerMessage } from "./peer_messages.ts";
import type { ChunkStore } from "./store.ts";

/** Manifests that were asked for and are not sent: each may be 2 MiB long. */
const maxManifestsOwed = 1_024;

export interface FileAnswersOptions {
  /** The first stream, which carries everything but chunks. */
  stream: Pick<FramedStream, "write">;
  store: Pick<ChunkStore, "manifest">;
  holdings: Holdings;
  proofs: Pick<LengthProofs, "of" | "known">;
  /** The link that the stream belongs to. */
  link: { readonly isOpen: boolean };
  /** Puts a message onto the stream. */
  send(message: WholePeerMessage): void;
  /** Nothing is here of the file, or no manifest. */
  onLacking(digest: Uint8Array): void;
  onFailed(error: unknown): void;
}

export class FileAnswers {
  readonly #options: FileAnswersOptions;
  /** Files whose bitfield was asked for, by digest in hex, until the question for the manifest may have come, too. */
  readonly #bitfieldsOwed = new Map<string, Uint8Array>();
  #manifestsOwed = 0;
  #manifestsSent: Promise<void> = Promise.resolve();

  constructor(options: FileAnswersOptions) {
    this.#options = options;
  }

  /** The bitfield is asked for. */
  oweBitfield(digest: Uint8Array): void {
    this.#bitfieldsOwed.set(digest.toHex(), digest);
    queueMicrotask(() => {
      if (this.#bitfieldsOwed.delete(digest.toHex())) this.sendBitfield(digest);
    });
  }

  sendBitfield(digest: Uint8Array): void {
    const bitfield = this.#bitfieldOf(digest);
    if (bitfield) this.#options.send(bitfield);
    else this.#options.onLacking(digest);
  }

  /** The manifest is asked for. One is sent after the other, so that no more than one waits to be read. */
  oweManifest(digest: Uint8Array): void {
    const { onFailed } = this.#options;
    if (++this.#manifestsOwed > maxManifestsOwed) {
      return onFailed(new ProtocolError("too-many-manifests", "The peer asks for all at once"));
    }
    const owesBitfield = this.#bitfieldsOwed.delete(digest.toHex());
    const sent = this.#manifestsSent.then(() => this.#sendManifest(digest, owesBitfield));
    this.#manifestsSent = sent.catch(onFailed);
  }

  /**
   * Together with the bitfield if that is owed: an accepted TLS connection can't turn off Nagle's algorithm, which
   * would have a second small write wait for the first one's acknowledgement, for 40 ms where that is delayed.
   */
  async #sendManifest(digest: Uint8Array, owesBitfield: boolean): Promise<void> {
    const { link, store, stream, onLacking } = this.#options;
    if (!link.isOpen) return;
    const manifest = await store.manifest(digest).catch(() => null);
    const proof = manifest ? await this.#proofOf(manifest) : noProof;
    this.#manifestsOwed--;
    const bitfield = owesBitfield ? this.#bitfieldOf(digest) : null;
    if (!manifest || owesBitfield && !bitfield) return onLacking(digest);
    const frames = [encodePeerMessage({ type: "manifest", ...manifest, ...proof })];
    if (bitfield) frames.unshift(encodePeerMessage(bitfield));
    if (link.isOpen) await stream.write(...frames);
  }

  #bitfieldOf(digest: Uint8Array): WholePeerMessage | null {
    const holding = this.#options.holdings.get(digest);
    return holding && { type: "bitfield", digest, length: holding.length, held: holding.held };
  }

  #proofOf(manifest: Manifest): Promise<LengthProof> | LengthProof {
    const { holdings, proofs } = this.#options;
    const last = chunkCountOf(manifest.length) - 1;
    const { digest } = manifest;
    return holdings.has(digest, last) ? proofs.of(manifest) : proofs.known(digest);
  }
}
