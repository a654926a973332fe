/**
 * Whether `--up` and `--down` are held: a file that takes some seconds at the limit, one seeder, one downloader.
 * `of the limit` is the mean rate from the wish to the complete file, in parts of what was allowed.
 */
import { join } from "node:path";
import { parseRate } from "../lib/rate.ts";
import type { Playground } from "../tests/programs.ts";
import {
  type BenchCase,
  type Contender,
  fill,
  limitMs,
  type Measurement,
  secondsIn,
  type Setup,
} from "./bench_ground.ts";

const rates = ["1MiB", "20MiB", "200MiB"];

const secondsAtLimit = 6;

/** After a peer's start its NAT is looked at. */
const restMs = 600;

type Option = "--up" | "--down";

export const limits: BenchCase = {
  name: "limits",
  references: [],
  copies: 2,
  bytes: 200 * 2 ** 20 * secondsAtLimit,
  prepare({ place }: Setup) {
    const contenders: Contender[] = rates.flatMap((rate) =>
      (["--up", "--down"] as const).map((option) => ({
        what: `${option} ${rate}`,
        measure: () => measure(place, { option, rate }),
      }))
    );
    return Promise.resolve({ title: "transfers under a limit", contenders });
  },
};

async function measure(
  place: Playground,
  { option, rate }: { option: Option; rate: string },
): Promise<Measurement> {
  const bytes = parseRate(rate, option) * secondsAtLimit;
  const [source, target] = [await place.directory(), await place.directory()];
  await fill(join(source, "file"), bytes);
  const { link } = await place.tracker();
  const words = (side: Option) => side === option ? [option, rate] : [];
  await place.seeder(source, link, words("--up"));
  const [row] = await place.listing(link, (rows) => rows.length === 1);
  const common = ["--dir", target, "--tracker", link, "--json"];
  const receiver = place.start("peer", [...common, ...words("--down")]);
  await receiver.event((event) => event["event"] === "ready", "start");
  await new Promise((resolve) => setTimeout(resolve, restMs));
  await receiver.type(`get ${row?.["digest"]}`);
  const done = await receiver.event((event) => event["event"] === "complete", "end", limitMs);
  await place.endPrograms();
  await Promise.all([source, target].map((path) => Deno.remove(path, { recursive: true })));
  const seconds = secondsIn(done);
  const more = { "of the limit": secondsAtLimit / seconds };
  return { seconds, cpu: null, sender: null, receiver: null, more };
}
