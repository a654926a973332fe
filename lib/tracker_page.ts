/**
 * The tracker's status page: files, how healthy their swarms are, who holds one. It changes nothing, and tells less
 * than any peer may ask for: no addresses, and who holds a file only, as a sample, of the file that is looked at.
 *
 *     GET /healthz             "ok", always, and in a second line what is wrong with the store of a group
 *     GET /…                   the page; `?q=` narrows the list, `?file=DIGEST` shows who holds it
 *     GET /…events             its parts as they change
 *     GET /…metrics            for Prometheus
 *
 * A tracker with a join secret tells nothing without it: then `…` begins with a token, made of the tracker's key and
 * the secret, that stands in the link printed at the start; for `/metrics` it may be a bearer token instead. Without
 * a secret everybody may join and ask, so everybody may look.
 */
import { chunkCountOf } from "./chunk_layout.ts";
import { EventFeed } from "./event_feed.ts";
import { formatBytes, formatCount, formatDuration, shownPeer } from "./format.ts";
import { type Html, html } from "./html.ts";
import { encodeId } from "./identity.ts";
import { metricsContentType, type MetricsRegistry } from "./metrics.ts";
import {
  asText,
  dataTable,
  frame,
  joinLinkBox,
  moreNote,
  nameOf,
  nothingNote,
  queryOf,
  searchForm,
  shownDigest,
  type TableColumn,
} from "./page_parts.ts";
import {
  refusalOf,
  respond,
  respondEvents,
  respondPage,
  respondResource,
} from "./page_responses.ts";
import type { Clock } from "./ports.ts";
import { constantTimeEqual } from "./secret.ts";
import type { HolderRow, ListedRow } from "./tracker_messages.ts";

/** Rows that are looked through, and shown. */
const maxListed = 20_000;
const maxShown = 200;
const maxHoldersShown = 100;

/** Seeders from which on a file survives that one of them goes. */
const healthySeeders = 2;

const holderColumns: readonly TableColumn[] = [
  { title: "Peer" },
  { title: "Chunks", kind: "number" },
  { title: "Share", kind: "number" },
];

const fileColumns: readonly TableColumn[] = [
  { title: "Name" },
  { title: "Size", kind: "number" },
  { title: "Seeders", kind: "number wide" },
  { title: "Leechers", kind: "number wide" },
  { title: "Health" },
  { title: "Digest", kind: "wide" },
];

/** What the page needs of a tracker. */
export interface TrackerSight {
  statistics(): { peers: number; files: number; introductions: number; relayed: number };
  list(limit: number): ListedRow[];
  /** A sample of who holds a file. */
  holders(digest: Uint8Array): HolderRow[];
  /** One line on what is wrong, though peers are served; "" for nothing. */
  trouble(): string;
}

export interface TrackerPageOptions {
  sight: TrackerSight;
  metrics: MetricsRegistry;
  /** Null: everybody may look. */
  token: string | null;
  /** As they may stand in the Host header; null: any. */
  hosts: readonly string[] | null;
  /** The join link; null if it is nobody's who only looks. */
  link: string | null;
  version: string;
  clock: Clock;
}

interface Look {
  query: string;
  /** In hex; "" for none. */
  file: string;
}

export class TrackerPage {
  readonly #options: TrackerPageOptions;
  readonly #feed: EventFeed;
  readonly #startedAt: number;

  constructor(options: TrackerPageOptions) {
    this.#options = options;
    this.#feed = new EventFeed(options.clock);
    this.#startedAt = options.clock.now();
  }

  close(): void {
    this.#feed.close();
  }

  /** Never rejects. */
  handle(request: Request): Promise<Response> {
    return Promise.resolve(this.#answer(request));
  }

  #answer(request: Request): Response {
    const url = new URL(request.url);
    if (request.method !== "GET" && request.method !== "HEAD") {
      return respond("GET only.\n", { status: 405, headers: { allow: "GET, HEAD" } });
    }
    if (url.pathname === "/healthz") return respond(`ok\n${this.#options.sight.trouble()}`);
    const refusal = refusalOf(request, this.#options);
    if (refusal !== null) return refusal;
    if (url.pathname === "/metrics" && this.#bears(request)) return this.#metrics();
    const name = this.#nameIn(url.pathname);
    if (name === null) return respond("Use the link that the tracker printed.\n", { status: 403 });
    const look = lookOf(url);
    switch (name) {
      case "":
        return respondPage(this.#page(look));
      case "events":
        return respondEvents(this.#feed.open(() => Promise.try(() => asText(this.#parts(look)))));
      case "metrics":
        return this.#metrics();
      default:
        return respondResource(name) ?? respond("There is no such page.\n", { status: 404 });
    }
  }

  /** What follows the token; null without the right one. */
  #nameIn(path: string): string | null {
    const { token } = this.#options;
    if (token === null) return path.slice(1);
    const [, shown = "", ...rest] = path.split("/");
    return isSame(shown, token) && rest.length > 0 ? rest.join("/") : null;
  }

  #bears(request: Request): boolean {
    const { token } = this.#options;
    const bearer = /^Bearer (\S+)$/.exec(request.headers.get("authorization") ?? "")?.[1] ?? "";
    return token === null || isSame(bearer, token);
  }

  #metrics(): Response {
    return respond(this.#options.metrics.text(), { type: metricsContentType });
  }

  #page(look: Look): Html {
    const parts = this.#parts(look);
    const { link, version } = this.#options;
    const shownLink = link === null ? null : joinLinkBox(link);
    return frame({
      title: "tracker",
      head: html`<h1>Tracker</h1>${shownLink}${parts["tiles"] ?? null}`,
      main: html`${parts["holders"] ?? null}
<section aria-labelledby="files-title"><h2 id="files-title">Files</h2>
${searchForm(look.query, "Find files")}
${parts["files"] ?? null}</section>`,
      foot: html`tracker ${version} ·`,
    });
  }

  #parts(look: Look): Record<string, Html> {
    const rows = this.#options.sight.list(maxListed);
    return {
      tiles: this.#tiles(rows),
      holders: this.#holders(look.file, rows),
      files: files(look, rows),
    };
  }

  #tiles(rows: readonly ListedRow[]): Html {
    const { sight, clock } = this.#options;
    const { peers, files, introductions, relayed } = sight.statistics();
    const endangered = rows.filter(({ seeders }) => seeders === 0).length;
    const minutes = Math.floor((clock.now() - this.#startedAt) / 60_000);
    const tiles: [string | number, string][] = [
      [peers, peers === 1 ? "peer" : "peers"],
      [files, files === 1 ? "file" : "files"],
      [endangered, "without a seeder"],
      [introductions, "introductions a minute"],
      [relayed, "relayed paths"],
      [minutes === 0 ? "< 1 min" : formatDuration(minutes * 60), "up"],
    ];
    return html`<div id="tiles" class="tiles">${
      tiles.map(([value, what]) =>
        html`<div class="tile"><b>${value}</b><span>${what}</span></div>`
      )
    }</div>`;
  }

  #holders(file: string, rows: readonly ListedRow[]): Html {
    const row = rows.find(({ digest }) => file !== "" && digest.toHex() === file);
    if (row === undefined) return html`<div id="holders"></div>`;
    const chunks = chunkCountOf(row.length);
    const holders = this.#options.sight.holders(row.digest)
      .sort((a, b) => b.chunks - a.chunks).slice(0, maxHoldersShown);
    const rowsOfHolders = holders.map((holder) => holderRow(holder, chunks));
    return html`
      <div id="holders">
        <section aria-labelledby="holders-title">
          <h2 id="holders-title">${nameOf(row.name)} <small>${formatCount(
            row.seeders,
            "seeder",
          )}, ${formatCount(row.leechers, "leecher")}</small></h2>
          ${dataTable(holderColumns, rowsOfHolders)}
          <p class="soft"><a href="./">all files</a></p>
        </section>
      </div>
    `;
  }
}

function holderRow({ peer, chunks: held, complete }: HolderRow, chunks: number): Html {
  const share = complete ? "complete" : `${Math.floor(100 * held / Math.max(chunks, 1))}%`;
  return html`
    <tr>
      <td class="id">${shownPeer(encodeId(peer))}</td>
      <td class="number">${held} of ${chunks}</td>
      <td class="number">${share}</td>
    </tr>
  `;
}

function lookOf(url: URL): Look {
  const file = url.searchParams.get("file") ?? "";
  return { query: queryOf(url), file: /^[0-9a-f]{64}$/.test(file) ? file : "" };
}

function files({ query }: Look, rows: readonly ListedRow[]): Html {
  const wanted = query.toLowerCase();
  const found = rows.filter(({ name }) => wanted === "" || name.toLowerCase().includes(wanted));
  const shown = found.sort((a, b) => a.name < b.name ? -1 : 1).slice(0, maxShown);
  const rest = found.length - shown.length;
  if (shown.length === 0) {
    const nothing = query === "" ? "Nobody shares anything yet." : "Nothing of that name.";
    return html`<div id="files">${nothingNote(nothing)}</div>`;
  }
  return html`<div id="files">${dataTable(fileColumns, shown.map(fileRow))}${
    moreNote(rest, ": find them by name")
  }</div>`;
}

function fileRow({ digest, name, length, seeders, leechers }: ListedRow): Html {
  const hex = digest.toHex();
  const [kind, word] = seeders >= healthySeeders
    ? ["good", "good"]
    : seeders === 1
    ? ["fair", "one seeder"]
    : ["poor", "no seeder"];
  return html`
    <tr>
      <td class="name">${nameOf(name, `?file=${hex}`)}</td>
      <td class="number">${formatBytes(length)}</td>
      <td class="number wide">${seeders}</td>
      <td class="number wide">${leechers}</td>
      <td><span class="health ${kind}">${word}</span></td>
      <td class="id wide">${shownDigest(hex)}</td>
    </tr>
  `;
}

function isSame(guess: string, token: string): boolean {
  const encoder = new TextEncoder();
  return constantTimeEqual(encoder.encode(guess), encoder.encode(token));
}
