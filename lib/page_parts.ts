/**
 * What the status pages of peer and tracker are made of: the frame around them, tables, names, the join link, the map
 * of a file's chunks.
 */
import { hasBit } from "./bitfield.ts";
import { displayName } from "./file_name.ts";
import { type Html, html } from "./html.ts";

const shownDigestDigits = 12;
const maxQueryCharacters = 200;

/** Cells of a map; files of more chunks have several in one. */
const maxCells = 256;

export interface Frame {
  title: string;
  /** What the page's path ends in, before its own resources. */
  head: Html;
  main: Html;
  foot: Html;
}

/** The whole page. Without scripts it is loaded again now and then. */
export function frame({ title, head, main, foot }: Frame): Html {
  return html`
    <!DOCTYPE html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>${title}</title>
        <link rel="stylesheet" href="page.css">
        <link rel="icon" href="icon.svg" type="image/svg+xml">
        <noscript><link rel="stylesheet" href="plain.css"><meta http-equiv="refresh" content="10"></noscript>
        <script src="page.js" defer></script>
      </head>
      <body data-events="events">
        <header>${head}</header>
        <main>${main}</main>
        <footer>${foot} <span id="live" class="needs-script"></span></footer>
        <div id="told" role="status"></div>
      </body>
    </html>
  `;
}

export interface MapOptions {
  /** Null: nothing is held. */
  held: Uint8Array | null;
  chunks: number;
  /** What it shows, for who can't see it. */
  label: string;
  kind?: "small" | "";
}

/** Which chunks are there, drawn: neighbours that are equally full are one rectangle. */
export function chunkMap({ held, chunks, label, kind = "" }: MapOptions): Html {
  const cells = cellsOf(held, chunks);
  const rectangles: Html[] = [];
  for (let start = 0; start < cells.length;) {
    let end = start + 1;
    while (end < cells.length && cells[end] === cells[start]) end++;
    const share = cells[start] ?? 0;
    if (share > 0) {
      const opacity = share < 1
        ? html`
          fill-opacity="${share.toFixed(2)}"
        `
        : null;
      rectangles.push(html`
        <rect x="${start}" width="${end - start}" height="1" ${opacity} />
      `);
    }
    start = end;
  }
  const isDone = cells.every((share) => share === 1);
  return html`
    <svg class="map ${kind}${isDone ? " done" : ""}" role="img" aria-label="${label}"
      viewBox="0 0 ${Math.max(cells.length, 1)} 1" preserveAspectRatio="none">${rectangles}</svg>
  `;
}

/** The share of each cell's chunks that is there, in quarters. */
function cellsOf(held: Uint8Array | null, chunks: number): number[] {
  const count = Math.min(chunks, maxCells);
  return Array.from({ length: count }, (_, cell) => {
    const first = Math.floor(cell * chunks / count);
    const end = Math.floor((cell + 1) * chunks / count);
    let have = 0;
    for (let chunk = first; chunk < end; chunk++) if (held && hasBit(held, chunk)) have++;
    const share = have / (end - first);
    return share === 1 ? 1 : Math.ceil(share * 4) / 5;
  });
}

/** A dark-on-light matrix as one path. */
export function qrPicture(modules: readonly (readonly boolean[])[], label: string): Html {
  const path = modules.flatMap((row, y) =>
    row.flatMap((isDark, x) => isDark ? [`M${x} ${y}h1v1h-1z`] : [])
  ).join("");
  return html`
    <svg class="qr" role="img" aria-label="${label}" viewBox="0 0 ${modules.length} ${modules
      .length}"
      shape-rendering="crispEdges">
      <path d="${path}" />
    </svg>
  `;
}

export interface TableColumn {
  title: string;
  /** `number` is set right, `wide` left out on phones, `act` holds buttons. */
  kind?: string;
}

/** `rows` are whole `tr`. */
export function dataTable(columns: readonly TableColumn[], rows: readonly Html[]): Html {
  const heads = columns.map(({ title, kind = "" }) =>
    html`<th scope="col" class="${kind}">${title}</th>`
  );
  return html`
    <table>
      <thead>
        <tr>${heads}</tr>
      </thead>
      <tbody>${rows}</tbody>
    </table>
  `;
}

/** A file's name as a cell begins with it: cut after a few lines, whole when pointed at. */
export function nameOf(name: string, link: string | null = null): Html {
  const shown = displayName(name);
  return link === null
    ? html`<span class="clip" title="${shown}">${shown}</span>`
    : html`<a class="clip" title="${shown}" href="${link}">${shown}</a>`;
}

export function shownDigest(digest: string): string {
  return digest.slice(0, shownDigestDigits);
}

export function joinLinkBox(link: string): Html {
  return html`
    <div
      class="link"><code tabindex="0" aria-label="Join link">${link}</code><button type="button" class="needs-script" data-copy="${link}">Copy</button></div>
  `;
}

export function searchForm(query: string, label: string): Html {
  return html`
    <form class="search" method="get" action="./"
      role="search"><input type="search" name="q" value="${query}" placeholder="Find files" aria-label="${label}"><button>Find</button></form>
  `;
}

/** What somebody looks for. */
export function queryOf({ searchParams }: URL): string {
  return (searchParams.get("q") ?? "").slice(0, maxQueryCharacters);
}

export function nothingNote(text: string): Html {
  return html`<p class="soft">${text}</p>`;
}

/** How many rows there are beyond those shown; null for none. */
export function moreNote(count: number, hint = ""): Html | null {
  return count > 0 ? html`<p class="soft">and ${count} more${hint}</p>` : null;
}

/** For the feed of events. */
export function asText(parts: Readonly<Record<string, Html>>): Record<string, string> {
  return Object.fromEntries(Object.entries(parts).map(([id, { text }]) => [id, text]));
}
