/**
 * The peak memory of both ends for a file of 1 GiB and for one of 8 GiB, which is to be the same.
 */
import { join } from "node:path";
import { formatBytes } from "../lib/format.ts";
import { type BenchCase, type Contender, fill, type Setup } from "./bench_ground.ts";
import { ours } from "./bench_ours.ts";

const largeBytes = 8 * 1024 ** 3;

const smallBytes = 1024 ** 3;

export const largeFile: BenchCase = {
  name: "memory",
  isOnDemand: true,
  references: [],
  // With the chunks' own files, should it be slow.
  copies: 3,
  bytes: largeBytes,
  async prepare({ place, bytes: largest }: Setup) {
    const contenders: Contender[] = [];
    for (const bytes of [Math.min(smallBytes, largest), largest]) {
      const source = await place.directory();
      const file = join(source, "file");
      await fill(file, bytes);
      const [peer] = ours({ place, source, file, bytes })
        .filter(({ what }) => what === "peer over TCP");
      if (peer) contenders.push({ ...peer, what: `peer, ${formatBytes(bytes)}` });
    }
    return { title: "peak memory of each end", contenders };
  },
};
