/**
 * From the start of a process to its end: `peer list` beside an empty program and a program that makes one TLS
 * connection and ends, which is the least that asking a tracker can take.
 */
import { join } from "node:path";
import { parseJoinLink } from "../lib/join_link.ts";
import { commandOf, type Playground } from "../tests/programs.ts";
import { type BenchCase, type Contender, type Measurement, type Setup } from "./bench_ground.ts";

const nothing = "deno eval 0";

const connection = "one TLS connection";

/** Each measurement is the median of so many, one after the other. */
const startsPerMeasurement = 9;

export const starting: BenchCase = {
  name: "start",
  references: [nothing, connection],
  copies: 1,
  bytes: 0,
  async prepare({ place }: Setup) {
    const { link } = await place.tracker();
    const script = await writeConnection(place, link);
    const contenders: Contender[] = [
      { what: nothing, measure: () => starts([Deno.execPath(), "eval", "0"]) },
      { what: connection, measure: () => starts([Deno.execPath(), "run", "-A", script]) },
      { what: "peer --help", measure: () => starts([...commandOf("peer"), "--help"]) },
      {
        what: "peer list",
        measure: () => starts([...commandOf("peer"), "--tracker", link, "list"]),
      },
    ];
    return { title: "a process from start to exit", needsPrograms: true, contenders };
  },
};

/** A program that loads nothing of ours. */
async function writeConnection(place: Playground, link: string): Promise<string> {
  const { anchorOf } = await import("../lib/certificate.ts");
  const { hostnameOf } = await import("../lib/identity.ts");
  const { id, hosts } = parseJoinLink(link);
  const options = {
    hostname: hostnameOf(id),
    caCerts: [anchorOf(id)],
    alpnProtocols: ["p2p/1"],
  };
  const path = join(await place.directory(), "connect.ts");
  await Deno.writeTextFile(
    path,
    `const tcp = await Deno.connect({ hostname: "127.0.0.1", port: ${hosts[0]?.port} });
     const tls = await Deno.startTls(tcp, ${JSON.stringify(options)});
     await tls.handshake();
     Deno.exit(0);\n`,
  );
  return path;
}

async function starts([executable = "", ...args]: string[]): Promise<Measurement> {
  const env = { DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" };
  const each: number[] = [];
  for (let count = 0; count < startsPerMeasurement; count++) {
    const startedAt = performance.now();
    const { success, stderr } = await new Deno.Command(executable, { args, env }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    each.push((performance.now() - startedAt) / 1000);
  }
  const seconds = each.sort((a, b) => a - b)[startsPerMeasurement >> 1] ?? 0;
  return { seconds, cpu: null, sender: null, receiver: null };
}
