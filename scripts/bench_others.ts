/**
 * What else people move files with, as far as it is installed. Each is set up the way that serves it best on
 * loopback: no discovery, no encryption unless it knows nothing else, one seeder, one downloader, the source
 * hashed before the clock starts.
 */
import { join } from "node:path";
import type { Program } from "../tests/programs.ts";
import {
  type Bench,
  type Contender,
  Ends,
  freePort,
  limitMs,
  measureCommand,
  type Measurement,
  missingCommand,
  poll,
  requireSame,
  secondsIn,
  start,
} from "./bench_ground.ts";
import { measureSyncthing } from "./bench_syncthing.ts";
import { openTorrentTracker, writeTorrent } from "./bench_torrent.ts";

/** Debian's, which has the bindings; another one in the path may not. */
const python = "/usr/bin/python3";

export const others: Contender[] = [
  { what: "openssl sha256", missing: () => missingCommand("openssl"), measure: measureOpenssl },
  { what: "curl from nginx", missing: missingNginx, measure: measureCurl },
  { what: "libtorrent", missing: missingLibtorrent, measure: (b) => measureLibtorrent(b, "tcp") },
  { what: "qBittorrent", missing: () => missingCommand("qbittorrent-nox"), measure: measureQbt },
  { what: "aria2", missing: () => missingCommand("aria2c"), measure: measureAria2 },
  { what: "Syncthing", missing: () => missingCommand("syncthing"), measure: measureSyncthing },
  {
    what: "libtorrent uTP",
    missing: missingLibtorrent,
    measure: (b) => measureLibtorrent(b, "utp"),
    isSlow: true,
  },
];

async function measureOpenssl(bench: Bench): Promise<Measurement> {
  const measurement = await measureCommand(bench, ["openssl", "dgst", "-sha256", bench.file]);
  return { ...measurement, sender: null };
}

async function missingNginx(): Promise<string | null> {
  return await missingCommand("curl") ?? await missingCommand("nginx");
}

async function measureCurl(bench: Bench): Promise<Measurement> {
  const { place, source, file } = bench;
  const [home, target, port] = [await place.directory(), await place.directory(), freePort()];
  const configuration = `daemon off; master_process off; pid "${home}/pid"; error_log stderr;
    events {} http { access_log off; sendfile on; client_body_temp_path "${home}/body";
      proxy_temp_path "${home}/proxy"; fastcgi_temp_path "${home}/fastcgi";
      uwsgi_temp_path "${home}/uwsgi"; scgi_temp_path "${home}/scgi";
      server { listen 127.0.0.1:${port}; root "${source}"; } }`;
  await Deno.writeTextFile(join(home, "nginx.conf"), configuration);
  const nginx = start(place, ["nginx", "-p", home, "-c", join(home, "nginx.conf")]);
  await poll("nginx", () => isListening(port));
  const copy = join(target, "file");
  const url = `http://127.0.0.1:${port}/file`;
  const command = ["curl", "--silent", "--fail", "--output", copy, url];
  const measurement = await measureCommand(bench, command, [nginx.id]);
  await requireSame(file, copy);
  await Deno.remove(copy);
  return measurement;
}

async function missingLibtorrent(): Promise<string | null> {
  const args = ["-c", "import libtorrent"];
  const isThere = await new Deno.Command(python, { args }).output()
    .then(({ success }) => success, () => false);
  return isThere ? null : "python3-libtorrent";
}

async function measureLibtorrent(bench: Bench, transport: "tcp" | "utp"): Promise<Measurement> {
  const { place, source, file } = bench;
  const target = await place.directory();
  const torrent = await writeTorrent(file, join(await place.directory(), "file.torrent"));
  const run = (...words: string[]) =>
    start(place, [python, join(import.meta.dirname ?? "", "bench_libtorrent.py"), ...words]);
  const sender = run("seed", transport, torrent, source);
  const { port } = await sender.event((event) => "port" in event, "port", limitMs);
  const receiver = run("get", transport, torrent, target, `${port}`);
  await receiver.event((event) => "ready" in event, "start");
  const ends = await new Ends([sender.id], [receiver.id]).ready();
  await receiver.type("go");
  const done = await receiver.event((event) => "seconds" in event, "end", limitMs);
  return await finished(bench, { target, measurement: await ends.measurement(secondsIn(done)) });
}

async function measureAria2(bench: Bench): Promise<Measurement> {
  const { place, source, file } = bench;
  const target = await place.directory();
  await using tracker = openTorrentTracker();
  const path = join(await place.directory(), "file.torrent");
  const torrent = await writeTorrent(file, path, tracker.url);
  const common = ["aria2c", "--enable-dht=false", "--bt-enable-lpd=false", "--disable-ipv6=true"]
    .concat(["--enable-peer-exchange=false", "--file-allocation=none", "--summary-interval=0"]);
  const words = (directory: string) => [`--listen-port=${freePort()}`, "--dir", directory, torrent];
  const seeding = ["--seed-ratio=0.0", "--check-integrity=true"];
  const sender = start(place, [...common, ...seeding, ...words(source)]);
  await tracker.announced(1);
  const getting = [...common, "--seed-time=0", ...words(target)];
  const measurement = await measureCommand(bench, getting, [sender.id]);
  return await finished(bench, { target, measurement });
}

async function measureQbt(bench: Bench): Promise<Measurement> {
  const { place, source, file } = bench;
  const target = await place.directory();
  const torrent = await writeTorrent(file, join(await place.directory(), "file.torrent"));
  const [sender, receiver] = [await startQbt(bench), await startQbt(bench)];
  await sender.add(torrent, source, "true");
  await poll("qBittorrent's seeder", async () => await sender.progress() === 1 || null);
  const ends = await new Ends([sender.program.id], [receiver.program.id]).ready();
  const startedAt = performance.now();
  await receiver.add(torrent, target, "false");
  const { hash } = await poll("qBittorrent's torrent", () => receiver.torrent());
  const peers = `127.0.0.1:${sender.peerPort}`;
  await poll(
    "qBittorrent's peer",
    () => receiver.post("torrents/addPeers", { hashes: hash, peers }),
  );
  await poll("qBittorrent", async () => await receiver.progress() === 1 || null);
  const seconds = (performance.now() - startedAt) / 1000;
  return await finished(bench, { target, measurement: await ends.measurement(seconds) });
}

/** One qBittorrent with a web interface, which is how it is told what to do. */
async function startQbt({ place }: Bench): Promise<Qbt> {
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
  const qbt = new Qbt(program, webPort, peerPort);
  await poll("qBittorrent", () => isListening(webPort));
  await poll("qBittorrent", () => isListening(peerPort));
  return qbt;
}

class Qbt {
  readonly program: Program;
  readonly peerPort: number;
  readonly #api: string;

  constructor(program: Program, webPort: number, peerPort: number) {
    this.program = program;
    this.peerPort = peerPort;
    this.#api = `http://127.0.0.1:${webPort}/api/v2`;
  }

  async add(torrent: string, savepath: string, isThere: string): Promise<void> {
    const form = new FormData();
    form.set("torrents", new Blob([await Deno.readFile(torrent)]), "file.torrent");
    for (const [key, value] of Object.entries({ savepath, skip_checking: isThere })) {
      form.set(key, value);
    }
    await (await fetch(`${this.#api}/torrents/add`, { method: "POST", body: form })).text();
  }

  /** Null when it was refused. */
  async post(method: string, values: Record<string, string>): Promise<true | null> {
    const body = new URLSearchParams(values);
    const response = await fetch(`${this.#api}/${method}`, { method: "POST", body });
    const text = await response.text();
    return response.ok && !text.includes('"added":0') ? true : null;
  }

  async torrent(): Promise<{ hash: string; progress: number } | null> {
    const response = await fetch(`${this.#api}/torrents/info`);
    const [first] = await response.json();
    return first ?? null;
  }

  async progress(): Promise<number> {
    return (await this.torrent())?.progress ?? 0;
  }
}

async function finished(
  { file, place }: Bench,
  { target, measurement }: { target: string; measurement: Measurement },
): Promise<Measurement> {
  await place.endPrograms();
  const copy = join(target, "file");
  await requireSame(file, copy);
  await Deno.remove(copy);
  return measurement;
}

async function isListening(port: number): Promise<true | null> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return null;
  }
}
