/**
 * The peer's status page at a loopback port, under a path that holds a fresh token.
 */
import { formatAddress } from "./address.ts";
import { buildInfo } from "./build_info.ts";
import { systemClock, systemRandom } from "./deno_clock.ts";
import { DroppedFiles } from "./dropped_files.ts";
import { openHttpServer } from "./http_server.ts";
import type { OpenPage, PageOptions } from "./peer_factory.ts";
import { PeerPage } from "./peer_page.ts";

const tokenBytes = 16;

/** Throws `UserError` if the port can't be had. */
export function openPeerPage({ peer, settings, address }: PageOptions): OpenPage {
  const token = systemRandom.bytes(tokenBytes).toHex();
  const dropped = new DroppedFiles(settings.dir);
  const hosts: string[] = [];
  const page = new PeerPage({
    peer,
    directory: settings.dir,
    token,
    hosts,
    version: buildInfo(),
    clock: systemClock,
    keepFile: (name, body) => dropped.keep(name, body),
  });
  const server = openHttpServer(address, (request) => page.handle(request));
  const { port } = server.address;
  hosts.push(formatAddress(server.address), `localhost:${port}`);
  const close = async () => {
    page.close();
    await server.close();
  };
  return { url: `http://${formatAddress(server.address)}/${token}/`, close };
}
