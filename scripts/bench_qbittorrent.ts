/**
 * qBittorrent without a screen, told by its web interface what to do.
 */
import { join } from "node:path";
import type { Playground, Program } from "../tests/programs.ts";
import { freePort, isListening, limitMs, poll, start } from "./bench_ground.ts";

export class Qbt {
  readonly program: Program;
  readonly peerPort: number;
  readonly #api: string;

  constructor(program: Program, { webPort, peerPort }: { webPort: number; peerPort: number }) {
    this.program = program;
    this.peerPort = peerPort;
    this.#api = `http://127.0.0.1:${webPort}/api/v2`;
  }

  /** `isThere`: the directory holds the content, and it isn't checked. */
  async add(torrent: string, savepath: string, isThere: boolean): Promise<void> {
    const form = new FormData();
    form.set("torrents", new Blob([await Deno.readFile(torrent)]), "file.torrent");
    for (const [key, value] of Object.entries({ savepath, skip_checking: `${isThere}` })) {
      form.set(key, value);
    }
    await (await fetch(`${this.#api}/torrents/add`, { method: "POST", body: form })).text();
  }

  /** Has the one torrent connect to peers on loopback. */
  async connect(ports: readonly number[]): Promise<void> {
    const { hash } = await poll("qBittorrent's torrent", () => this.torrent());
    for (const port of ports) {
      const peers = `127.0.0.1:${port}`;
      await poll(
        "qBittorrent's peer",
        () => this.#post("torrents/addPeers", { hashes: hash, peers }),
      );
    }
  }

  async complete(): Promise<void> {
    await poll("qBittorrent", async () => (await this.torrent())?.progress === 1 || null, limitMs);
  }

  async torrent(): Promise<{ hash: string; progress: number; uploaded: number } | null> {
    const response = await fetch(`${this.#api}/torrents/info`);
    const [first] = await response.json();
    return first ?? null;
  }

  /** Null when it was refused. */
  async #post(method: string, values: Record<string, string>): Promise<true | null> {
    const body = new URLSearchParams(values);
    const response = await fetch(`${this.#api}/${method}`, { method: "POST", body });
    const text = await response.text();
    return response.ok && !text.includes('"added":0') ? true : null;
  }
}

export async function startQbt(place: Playground): Promise<Qbt> {
  const profile = await place.directory();
  const [webPort, peerPort] = [freePort(), freePort()];
  const settings = join(profile, "qBittorrent", "config");
  await Deno.mkdir(settings, { recursive: true });
  await Deno.writeTextFile(
    join(settings, "qBittorrent.conf"),
    `[LegalNotice]\nAccepted=true\n[BitTorrent]\nSession\\Port=${peerPort}\n` +
      "Session\\DHTEnabled=false\nSession\\LSDEnabled=false\nSession\\PeXEnabled=false\n" +
      "Session\\Encryption=2\nSession\\BTProtocol=TCP\nSession\\Interface=lo\n" +
      "Session\\InterfaceName=lo\nSession\\MultiConnectionsPerIp=true\n" +
      "Session\\Preallocation=false\n[Network]\nPortForwardingEnabled=false\n" +
      `[Preferences]\nWebUI\\Port=${webPort}\nWebUI\\Address=127.0.0.1\n` +
      "WebUI\\LocalHostAuth=false\nWebUI\\CSRFProtection=false\nWebUI\\UseUPnP=false\n",
  );
  const program = start(place, ["qbittorrent-nox", `--profile=${profile}`]);
  await poll("qBittorrent", () => isListening(webPort));
  await poll("qBittorrent", () => isListening(peerPort));
  return new Qbt(program, { webPort, peerPort });
}
