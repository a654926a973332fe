/**
 * What else people move files with, as far as it is installed. Each is set up the way that serves it best on
 * loopback: no discovery, no encryption unless it knows nothing else, one seeder, one downloader, the source
 * hashed before the clock starts.
 */
import { join } from "node:path";
import { aria2Getting, aria2Seeding } from "./bench_aria2.ts";
import {
  type Bench,
  type Contender,
  Ends,
  freePort,
  isListening,
  measureCommand,
  type Measurement,
  missingCommand,
  poll,
  requireSame,
  start,
} from "./bench_ground.ts";
import { missingLibtorrent, startLibtorrent } from "./bench_libtorrent.ts";
import { startQbt } from "./bench_qbittorrent.ts";
import { measureSyncthing } from "./bench_syncthing.ts";
import { openTorrentTracker, writeTorrent } from "./bench_torrent.ts";

export function others(bench: Bench): Contender[] {
  return [
    {
      what: "openssl sha256",
      missing: () => missingCommand("openssl"),
      measure: () => measureOpenssl(bench),
    },
    { what: "curl from nginx", missing: missingNginx, measure: () => measureCurl(bench) },
    {
      what: "libtorrent",
      missing: missingLibtorrent,
      measure: () => measureLibtorrent(bench, "tcp"),
    },
    {
      what: "qBittorrent",
      missing: () => missingCommand("qbittorrent-nox"),
      measure: () => measureQbt(bench),
    },
    { what: "aria2", missing: () => missingCommand("aria2c"), measure: () => measureAria2(bench) },
    {
      what: "Syncthing",
      missing: () => missingCommand("syncthing"),
      measure: () => measureSyncthing(bench),
    },
    {
      what: "libtorrent uTP",
      missing: missingLibtorrent,
      measure: () => measureLibtorrent(bench, "utp"),
      isSlow: true,
    },
  ];
}

async function measureOpenssl(bench: Bench): Promise<Measurement> {
  const command = ["openssl", "dgst", "-sha256", bench.file];
  const measurement = await measureCommand(bench.place, command);
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
  const measurement = await measureCommand(place, command, [nginx.id]);
  await requireSame(file, copy);
  await Deno.remove(copy);
  return measurement;
}

async function measureLibtorrent(bench: Bench, transport: "tcp" | "utp"): Promise<Measurement> {
  const { place, source, file } = bench;
  const target = await place.directory();
  const torrent = await writeTorrent(file, join(await place.directory(), "file.torrent"));
  const common = { transport, torrent };
  const sender = await startLibtorrent(place, { ...common, mode: "seed", directory: source });
  const receiver = await startLibtorrent(place, { ...common, mode: "get", directory: target });
  const ends = await new Ends([sender.program.id], [receiver.program.id]).ready();
  const seconds = await receiver.get([sender.port]);
  return await finished(bench, { target, measurement: await ends.measurement(seconds) });
}

async function measureAria2(bench: Bench): Promise<Measurement> {
  const { place, source, file } = bench;
  const target = await place.directory();
  await using tracker = openTorrentTracker();
  const path = join(await place.directory(), "file.torrent");
  const torrent = await writeTorrent(file, path, { announce: tracker.url });
  const sender = start(place, aria2Seeding({ torrent, directory: source }));
  await tracker.announced(1);
  const getting = aria2Getting({ torrent, directory: target });
  const measurement = await measureCommand(place, getting, [sender.id]);
  return await finished(bench, { target, measurement });
}

async function measureQbt(bench: Bench): Promise<Measurement> {
  const { place, source, file } = bench;
  const target = await place.directory();
  const torrent = await writeTorrent(file, join(await place.directory(), "file.torrent"));
  const [sender, receiver] = [await startQbt(place), await startQbt(place)];
  await sender.add(torrent, source, true);
  await sender.complete();
  const ends = await new Ends([sender.program.id], [receiver.program.id]).ready();
  const startedAt = performance.now();
  await receiver.add(torrent, target, false);
  await receiver.connect([sender.peerPort]);
  await receiver.complete();
  const seconds = (performance.now() - startedAt) / 1000;
  return await finished(bench, { target, measurement: await ends.measurement(seconds) });
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
