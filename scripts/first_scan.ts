/**
 * The first scan of a directory in this process, for `bench_index.ts`: prints {"seconds", "cpu"}, and goes on until
 * standard input ends.
 *
 *     first_scan.ts DIRECTORY
 */
import { openStore } from "../lib/deno_files.ts";
import process from "node:process";

const before = process.cpuUsage();
const startedAt = performance.now();
const store = await openStore(Deno.args[0] ?? ".");
await store.scan();
const seconds = (performance.now() - startedAt) / 1000;
const { user, system } = process.cpuUsage(before);
await store.close();
console.log(JSON.stringify({ seconds, cpu: (user + system) / 1e6 }));
while (await Deno.stdin.read(new Uint8Array(1)) !== null);
