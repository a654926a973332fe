/**
 * The peer: shares one directory and downloads from everybody who joined the same tracker. See `README.md`.
 */
import { runPeerProgram } from "./lib/peer_program.ts";

Deno.exit(await runPeerProgram(Deno.args));
