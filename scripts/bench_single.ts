/**
 * One file from one peer to another, beside everything else that moves files and is installed, each in turn. Copy, bare
 * sockets and curl verify nothing; the others do.
 */
import { join } from "node:path";
import { formatBytes } from "../lib/format.ts";
import { type BenchCase, fill, settled, type Setup } from "./bench_ground.ts";
import { others } from "./bench_others.ts";
import { ours } from "./bench_ours.ts";

const defaultBytes = 1024 ** 3;

export const single: BenchCase = {
  name: "single",
  references: ["curl from nginx", "libtorrent", "Syncthing", "raw TLS/TCP", "raw QUIC"],
  copies: 3,
  bytes: defaultBytes,
  async prepare({ place, bytes }: Setup) {
    const source = await place.directory();
    const file = join(source, "file");
    await fill(file, bytes);
    const bench = { place, source, file, bytes };
    const contenders = [...ours(bench), ...others(bench)];
    return {
      title: `${formatBytes(bytes)}, one seeder, one downloader`,
      bytes,
      contenders: settled(bytes, contenders),
    };
  },
};
