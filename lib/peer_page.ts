/**
 * The peer's status page: what it shares, its downloads with the map of their chunks, who is connected and how, what
 * the tracker lists. Downloads can be started, paused, resumed and cancelled, and files dropped on it are shared.
 *
 *     GET  /TOKEN/             the page; `?q=` narrows the tracker's list
 *     GET  /TOKEN/events       its parts as they change
 *     GET  /TOKEN/page.css …   its resources
 *     POST /TOKEN/get          a form: digest=…; likewise pause, resume, cancel
 *     POST /TOKEN/files?name=  a file to be shared
 *
 * Nothing is answered without the token, which is random for each start and stands in the path alone: not in a
 * cookie, so no other page's request carries it. Host, Origin and Sec-Fetch-Site are checked besides.
 */
import type { DownloadStatus, ListedFile, ManagedPeer, PeerStatus, Source } from "./control.ts";
import { isFull } from "./bitfield.ts";
import { hasEnded } from "./download_queue.ts";
import { messageOf, UserError } from "./errors.ts";
import { EventFeed } from "./event_feed.ts";
import { displayName } from "./file_name.ts";
import { formatBytes, formatCount, formatDuration, formatRate, shownPeer } from "./format.ts";
import { type Html, html } from "./html.ts";
import {
  asText,
  chunkMap,
  dataTable,
  frame,
  joinLinkBox,
  moreNote,
  nameOf,
  nothingNote,
  qrPicture,
  queryOf,
  searchForm,
  shownDigest,
  type TableColumn,
} from "./page_parts.ts";
import {
  formOf,
  refusalOf,
  respond,
  respondEvents,
  respondPage,
  respondResource,
  tooLong,
} from "./page_responses.ts";
import type { Clock } from "./ports.ts";
import { qrModules } from "./qr_code.ts";
import { constantTimeEqual } from "./secret.ts";

/** Rows of each kind that are shown; more are counted. */
const maxShown = 100;
const maxDownloadsShown = 50;

/** How old the tracker's list may be, and how long the first look waits for it. */
const listAgeMs = 3_000;
const firstListMs = 1_500;

/** A larger file is copied into the directory, not sent through a browser. */
export const maxDroppedBytes = 64 * 2 ** 30;

const sharedColumns: readonly TableColumn[] = [
  { title: "Name" },
  { title: "Size", kind: "number" },
  { title: "Chunks", kind: "number wide" },
  { title: "Digest", kind: "wide" },
];

const listedColumns: readonly TableColumn[] = [
  { title: "Name" },
  { title: "Size", kind: "number" },
  { title: "Seeders", kind: "number wide" },
  { title: "Leechers", kind: "number wide" },
  { title: "Get", kind: "act" },
];

/** Of a peer that chunks come from or go to, after its name. */
const pathColumns: readonly TableColumn[] = [
  { title: "Via" },
  { title: "Chunks", kind: "number" },
  { title: "Rate", kind: "number" },
];

export interface PeerPageOptions {
  peer: ManagedPeer;
  /** The shared directory, as the user calls it. */
  directory: string;
  token: string;
  /** `host:port` as they may stand in the Host header. */
  hosts: readonly string[];
  version: string;
  clock: Clock;
  /** Keeps a file in the directory, under the name if that is free. Resolves to its name. */
  keepFile(name: string, body: ReadableStream<Uint8Array> | null): Promise<string>;
}

export class PeerPage {
  readonly #options: PeerPageOptions;
  readonly #feed: EventFeed;
  readonly #token: Uint8Array;
  #listed: ListedFile[] = [];
  #listedAt = -Infinity;
  #listing: Promise<void> | null = null;
  #listFault: string | null = null;
  #qr: { link: string; picture: Html } | null = null;

  constructor(options: PeerPageOptions) {
    this.#options = options;
    this.#feed = new EventFeed(options.clock);
    this.#token = new TextEncoder().encode(options.token);
  }

  /** Never rejects. */
  async handle(request: Request): Promise<Response> {
    const refusal = refusalOf(request, this.#options);
    if (refusal !== null) return refusal;
    const url = new URL(request.url);
    const [, token = "", name, ...rest] = url.pathname.split("/");
    const isKnown = constantTimeEqual(new TextEncoder().encode(token), this.#token);
    if (!isKnown) return respond("Use the link that the peer printed.\n", { status: 403 });
    if (name === undefined || rest.length > 0) return notFound();
    try {
      if (request.method === "GET" || request.method === "HEAD") return await this.#show(name, url);
      if (request.method === "POST") return await this.#change(name, { request, url });
      return respond("GET or POST.\n", { status: 405, headers: { allow: "GET, POST" } });
    } catch (thrown) {
      return failure(thrown);
    }
  }

  close(): void {
    this.#feed.close();
  }

  async #show(name: string, url: URL): Promise<Response> {
    const query = queryOf(url);
    if (name === "") return respondPage(await this.#page(query));
    if (name === "events") {
      return respondEvents(this.#feed.open(() => Promise.try(() => asText(this.#parts(query)))));
    }
    return respondResource(name) ?? notFound();
  }

  async #change(
    name: string,
    { request, url }: { request: Request; url: URL },
  ): Promise<Response> {
    if (name === "files") {
      if (Number(request.headers.get("content-length") ?? 0) > maxDroppedBytes) return tooLong();
      const kept = await this.#options.keepFile(url.searchParams.get("name") ?? "", request.body);
      return respond(`Sharing ${displayName(kept)}.\n`, { status: 201 });
    }
    const form = await formOf(request);
    if (form instanceof Response) return form;
    await this.#changeDownload(name, form.get("digest") ?? "");
    return respond(null, { status: 303, headers: { location: "./" } });
  }

  async #changeDownload(name: string, digest: string): Promise<void> {
    const { peer } = this.#options;
    switch (name) {
      case "get": {
        const file = (await peer.list()).find((each) => each.digest === digest);
        if (file === undefined) throw new UserError("notFound", "no such file on the tracker");
        return void peer.download(file);
      }
      case "pause":
      case "resume":
      case "cancel":
        if (peer[name](digest)) return;
        throw new UserError("failed", `there is nothing to ${name}`);
      default:
        throw new UserError("notFound", "there is nothing of that name");
    }
  }

  async #page(query: string): Promise<Html> {
    const first = this.#listed.length === 0 && this.#listedAt === -Infinity;
    if (first) await this.#waitForList();
    const { directory, version } = this.#options;
    const parts = this.#parts(query);
    const shown = displayName(directory);
    return frame({
      title: `${lastPart(shown)} · peer`,
      head: html`<h1 title="${shown}">${lastPart(shown)}</h1>${parts["facts"] ?? null}`,
      main: html`${parts["downloads"] ?? null}${parts["shared"] ?? null}
<section aria-labelledby="listed-title"><h2 id="listed-title">On the tracker</h2>
${searchForm(query, "Find files on the tracker")}
${parts["listed"] ?? null}</section>
${parts["uploads"] ?? null}`,
      foot: html`peer ${version} ·`,
    });
  }

  #parts(query: string): Record<string, Html> {
    this.#refreshList();
    const status = this.#options.peer.status();
    return {
      facts: this.#facts(status),
      downloads: this.#downloads(status),
      shared: this.#shared(status),
      listed: this.#listedFiles(query, status),
      uploads: uploads(status),
    };
  }

  // ── what the tracker lists ───────────────────────────────────────────────────────────────────────────────

  /** Asks again if the list is old; the page shows the one that is there. */
  #refreshList(): void {
    const { peer, clock } = this.#options;
    if (this.#listing !== null || clock.now() - this.#listedAt < listAgeMs) return;
    const asking = async () => {
      try {
        this.#listed = await peer.list();
        this.#listFault = null;
      } catch (thrown) {
        this.#listFault = messageOf(thrown);
      }
      this.#listedAt = clock.now();
      this.#listing = null;
    };
    this.#listing = asking();
  }

  async #waitForList(): Promise<void> {
    this.#refreshList();
    const late = Promise.withResolvers<void>();
    const timer = this.#options.clock.setTimer(firstListMs, () => late.resolve());
    await Promise.race([this.#listing, late.promise]);
    timer.cancel();
  }

  // ── the parts ────────────────────────────────────────────────────────────────────────────────────────────

  #facts(status: PeerStatus): Html {
    const isOn = status.tracker === "connected";
    const tracker = isOn ? `connected over ${status.trackerVia ?? "?"}` : "looking for it";
    return html`
      <div id="facts">
        <p class="facts"><span><span class="dot${isOn
          ? ""
          : " off"}"></span>Tracker <b>${tracker}</b></span>
      <span>Sharing <b>${formatCount(status.files, "file")}</b>, ${formatBytes(status.bytes)}</span>
      <span>Seen at <b>${status.address ?? "?"}</b></span>
      <span>Peer <b class="id">${shownPeer(status.peer)}</b></span></p>
        ${joinLinkBox(status.link)}
        <details id="qr"><summary>QR code of the join link</summary>${this.#qrOf(
          status.link,
        )}</details>
      </div>
    `;
  }

  #qrOf(link: string): Html {
    if (this.#qr?.link !== link) {
      this.#qr = { link, picture: qrPicture(qrModules(link), "QR code of the join link") };
    }
    return this.#qr.picture;
  }

  #downloads(status: PeerStatus): Html {
    const latest = status.downloads.toReversed();
    const ordered = [
      ...latest.filter(({ state }) => !hasEnded(state)),
      ...latest.filter(({ state }) => hasEnded(state)),
    ];
    const items = ordered.slice(0, maxDownloadsShown).map((download) => this.#download(download));
    const rest = ordered.length - items.length;
    return html`<section id="downloads" aria-labelledby="downloads-title">
<h2 id="downloads-title">Downloads</h2>
${items.length === 0 ? nothingNote("None yet.") : items}
${moreNote(rest)}</section>`;
  }

  #download(download: DownloadStatus): Html {
    const { digest, name, chunks, have, state } = download;
    const held = state === "complete" ? null : this.#options.peer.heldChunks(digest);
    const label = `${have} of ${formatCount(chunks, "chunk")}`;
    return html`<div class="item" id="download-${shownDigest(digest)}">
<div class="top"><div class="title">${nameOf(download.path ?? name)}</div>${buttons(download)}</div>
<p class="more"><span class="state ${state}">${stateWord(download)}</span>${
      progressFacts(download)
    }</p>
${state === "complete" ? null : chunkMap({ held, chunks, label })}
${!hasEnded(state) && download.sources.length > 0 && sources(download.sources)}</div>`;
  }

  #shared(status: PeerStatus): Html {
    const files = this.#options.peer.shared(maxShown)
      .sort((a, b) => (a.names[0] ?? "") < (b.names[0] ?? "") ? -1 : 1);
    const rest = status.files + status.incomplete - files.length;
    const rows = files.map(({ digest, names, length, chunks, have }) => {
      const isWhole = have === chunks;
      const held = isWhole ? null : this.#options.peer.heldChunks(digest);
      const label = `${have} of ${formatCount(chunks, "chunk")}`;
      return html`
        <tr>
          <td class="name">${nameOf(names[0] ?? "?")}${names.length > 1 && html`
            <span class="soft">and ${names.length - 1} more names</span>
          `}${!isWhole && chunkMap({ held, chunks, label, kind: "small" })}</td>
          <td class="number">${formatBytes(length)}</td>
          <td class="number wide">${isWhole ? "complete" : label}</td>
          <td class="id wide">${shownDigest(digest)}</td>
        </tr>
      `;
    });
    return html`<section id="shared" aria-labelledby="shared-title">
<h2 id="shared-title">Shared from here <small>${formatBytes(status.bytes)}</small></h2>
${rows.length === 0 ? nothingNote("Nothing yet.") : dataTable(sharedColumns, rows)}
${moreNote(rest)}
<label class="drop needs-script" id="drop">Drop files here to share them, or <b>choose some</b>
<input type="file" multiple></label></section>`;
  }

  #listedFiles(query: string, status: PeerStatus): Html {
    const wanted = query.toLowerCase();
    const found = query === ""
      ? this.#listed
      : this.#listed.filter(({ name }) => name.toLowerCase().includes(wanted));
    const shown = found.slice(0, maxShown);
    const under = new Set(
      status.downloads.filter(({ state }) => !hasEnded(state)).map(({ digest }) => digest),
    );
    const rows = shown.map((file) => this.#listedRow(file, under.has(file.digest)));
    const rest = found.length - shown.length;
    const nothing = this.#listFault ?? (query === "" ? "Nothing yet." : "Nothing of that name.");
    return html`<div id="listed">${
      rows.length === 0 ? nothingNote(nothing) : dataTable(listedColumns, rows)
    }${moreNote(rest, ": find them by name")}</div>`;
  }

  #listedRow(file: ListedFile, isUnderWay: boolean): Html {
    const { digest, name, length, seeders, leechers } = file;
    return html`
      <tr>
        <td class="name">${nameOf(name)}</td>
        <td class="number">${formatBytes(length)}</td>
        <td class="number wide">${seeders}</td>
        <td class="number wide">${leechers}</td>
        <td class="act">${this.#isHere(file)
          ? html`<span class="soft">here</span>`
          : isUnderWay
          ? html`<span class="soft">under way</span>`
          : button("get", digest, { label: `Get ${displayName(name)}`, text: "Get" })}</td>
      </tr>
    `;
  }

  #isHere({ digest, chunks }: ListedFile): boolean {
    const held = this.#options.peer.heldChunks(digest);
    return held !== null && isFull(held, chunks);
  }
}

/** Of a path; `.` and the like stay as they are. */
function lastPart(path: string): string {
  return path.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1) || path;
}

function uploads({ uploads }: PeerStatus): Html {
  const rows = uploads.slice(0, maxShown).map(({ peer, via, chunks, bytesPerSecond }) =>
    html`
      <tr>
        <td class="id">${shownPeer(peer)}</td>
        <td>${viaMark(via)}</td>
        <td class="number">${chunks}</td>
        <td class="number">${formatRate(bytesPerSecond)}</td>
      </tr>
    `
  );
  return html`<section id="uploads" aria-labelledby="uploads-title"><h2 id="uploads-title">Uploads</h2>
${
    rows.length === 0
      ? nothingNote("Nobody downloads from here.")
      : dataTable([{ title: "To peer" }, ...pathColumns], rows)
  }</section>`;
}

function sources(all: readonly Source[]): Html {
  const rows = all.slice(0, maxShown).map((source) =>
    html`
      <tr>
        <td class="id">${shownPeer(source.peer)}</td>
        <td>${source.connected ? viaMark(source.via) : html`<span class="soft">gone</span>`}</td>
        <td class="number">${source.chunks}</td>
        <td class="number">${formatRate(source.bytesPerSecond)}</td>
        <td class="number wide">${source.roundTripMs === null
          ? ""
          : `${source.roundTripMs.toFixed(1)} ms`}</td>
      </tr>
    `
  );
  const roundTrip = { title: "Round trip", kind: "number wide" };
  return dataTable([{ title: "From peer" }, ...pathColumns, roundTrip], rows);
}

function viaMark(via: string): Html {
  return html`<span class="via ${via}">${via}</span>`;
}

function buttons({ digest, state, name }: DownloadStatus): Html | null {
  if (state === "complete" || state === "combining") return null;
  const shown = displayName(name);
  if (state === "cancelled" || state === "failed") {
    const again = { label: `Try again: ${shown}`, text: "Try again" };
    return html`<div class="buttons">${button("get", digest, again)}</div>`;
  }
  const isPaused = state === "paused";
  return html`<div class="buttons">${
    isPaused
      ? button("resume", digest, { label: `Resume ${shown}`, text: "Resume" })
      : button("pause", digest, { label: `Pause ${shown}`, text: "Pause" })
  }${button("cancel", digest, { label: `Cancel ${shown}`, text: "Cancel" })}</div>`;
}

function button(action: string, digest: string, { label, text }: { label: string; text: string }) {
  return html`
    <form method="post"
      action="${action}"><input type="hidden" name="digest" value="${digest}"><button aria-label="${label}">${text}</button></form>
  `;
}

const stateWords: Record<DownloadStatus["state"], string> = {
  queued: "Queued",
  paused: "Paused",
  locating: "Looking for sources",
  downloading: "Downloading",
  combining: "Combining",
  complete: "Complete",
  cancelled: "Cancelled",
  failed: "Failed",
};

function stateWord({ state, error }: DownloadStatus): string {
  return error === null ? stateWords[state] : `${stateWords[state]}: ${displayName(error)}`;
}

function progressFacts(download: DownloadStatus): Html {
  const { length, chunks, have, state, bytesPerSecond, seconds } = download;
  const share = chunks === 0 ? 1 : have / chunks;
  const facts: string[] = [];
  if (state === "complete") facts.push(formatBytes(length), formatDuration(seconds));
  else facts.push(`${Math.floor(share * 100)}% of ${formatBytes(length)}`);
  if (state === "downloading") {
    facts.push(formatRate(bytesPerSecond));
    const left = (1 - share) * length / bytesPerSecond;
    if (left < 8_640_000) facts.push(`${formatDuration(left)} left`);
  }
  return html`${
    facts.map((fact) =>
      html`
        · ${fact}
      `
    )
  }`;
}

function notFound(): Response {
  return respond("There is nothing of that name.\n", { status: 404 });
}

const statuses = { notFound: 404, usage: 400, failed: 409, unreachable: 502 } as const;

function failure(thrown: unknown): Response {
  const isKnown = thrown instanceof UserError;
  const text = isKnown ? thrown.message : "something went wrong";
  return respond(`${displayName(text.charAt(0).toUpperCase() + text.slice(1))}.\n`, {
    status: isKnown ? statuses[thrown.code] : 500,
  });
}
