/**
 * The peer's status page: see `peer_page.ts`.
 */
import { UserError } from "./errors.ts";
import type { OpenPage, PageOptions } from "./peer_factory.ts";

/** Throws `UserError` if the port can't be had. */
export function openPeerPage(_options: PageOptions): Promise<OpenPage> {
  return Promise.reject(new UserError("failed", "this peer has no status page"));
}
