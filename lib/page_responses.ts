/**
 * The words of HTTP that the status pages speak: their answers, their small resources, and what keeps other pages and
 * other people out.
 */
import type { Html } from "./html.ts";
import { pageScript } from "./page_script.ts";
import { pageStyle, plainStyle } from "./page_style.ts";

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
