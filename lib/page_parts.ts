/**
 * What the status pages of peer and tracker have in common: the frame around them, their small resources, the map of a
 * file's chunks, and the words of HTTP that keep other pages and other people out.
 */
import { hasBit } from "./bitfield.ts";
import { type Html, html } from "./html.ts";
import { pageScript } from "./page_script.ts";
import { pageStyle, plainStyle } from "./page_style.ts";

/** Cells of a map; files of more chunks have several in one. */
const maxCells = 256;

/** A form is a digest or so. */
const maxFormBytes = 4 * 1024;

/** Scripts, styles and connections of the page's own origin, and nothing else; shown in no other page. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

const commonHeaders = {
  "content-security-policy": contentSecurityPolicy,
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=()",
  "cache-control": "no-store",
};

/** Chunks, of which one is missing. */
const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">
<g fill="#1f8a4c"><rect x="1" y="1" width="6" height="6" rx="1"/><rect x="9" y="1" width="6" height="6" rx="1"/>
<rect x="1" y="9" width="6" height="6" rx="1"/><rect x="9" y="9" width="6" height="6" rx="1" opacity=".35"/></g></svg>
`;

const resources: Record<string, { type: string; text: string }> = {
  "icon.svg": { type: "image/svg+xml", text: icon },
  "page.css": { type: "text/css; charset=utf-8", text: pageStyle },
  "plain.css": { type: "text/css; charset=utf-8", text: plainStyle },
  "page.js": { type: "text/javascript; charset=utf-8", text: pageScript },
};

export interface ResponseOptions {
  status?: number;
  type?: string;
  headers?: Record<string, string>;
}

export function respond(body: BodyInit | null, options: ResponseOptions = {}): Response {
  const { status = 200, type = "text/plain; charset=utf-8", headers = {} } = options;
  return new Response(body, {
    status,
    headers: { ...commonHeaders, "content-type": type, ...headers },
  });
}

export function respondPage({ text }: Html): Response {
  return respond(text, { type: "text/html; charset=utf-8" });
}

/** A style or script; null if there is none of that name. */
export function respondResource(name: string): Response | null {
  const found = Object.hasOwn(resources, name) ? resources[name] : undefined;
  return found === undefined ? null : respond(found.text, { type: found.type });
}

/** Of `EventFeed.open`. */
export function respondEvents(stream: ReadableStream<Uint8Array> | null): Response {
  if (stream === null) return respond("Too many look at this page.\n", { status: 503 });
  return respond(stream, { type: "text/event-stream; charset=utf-8" });
}

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

export interface Guard {
  /** `host:port` as they may stand in the Host header, against DNS rebinding; null: any. */
  hosts: readonly string[] | null;
}

/**
 * Why a request is refused; null if it isn't. Other pages in the same browser are kept out by what browsers say of
 * where a request comes from, whether they send it or have it sent.
 */
export function refusalOf(request: Request, { hosts }: Guard): Response | null {
  const host = request.headers.get("host") ?? "";
  if (hosts !== null && !hosts.includes(host.toLowerCase())) {
    return respond("This page is not for that host name.\n", { status: 421 });
  }
  const site = request.headers.get("sec-fetch-site");
  const origin = request.headers.get("origin");
  const isForeign = site !== null && site !== "same-origin" && site !== "none";
  const isForeignOrigin = origin !== null && origin !== `http://${host}` &&
    origin !== `https://${host}`;
  if (isForeign || isForeignOrigin) {
    return respond("Other sites have no business here.\n", { status: 403 });
  }
  return null;
}

/** The fields of a form that was posted; a response if it is none, or too long. */
export async function formOf(request: Request): Promise<URLSearchParams | Response> {
  const type = request.headers.get("content-type") ?? "";
  if (!type.startsWith("application/x-www-form-urlencoded")) {
    return respond("A form is wanted.\n", { status: 415 });
  }
  const length = Number(request.headers.get("content-length") ?? 0);
  if (length > maxFormBytes) return tooLong();
  let text = "";
  const body = request.body?.pipeThrough(new TextDecoderStream()) ?? [];
  for await (const piece of body) {
    text += piece;
    if (text.length > maxFormBytes) return tooLong();
  }
  return new URLSearchParams(text);
}

export function tooLong(): Response {
  return respond("That is too much.\n", { status: 413, headers: { connection: "close" } });
}
