/**
 * The peer: shares one directory and downloads from everybody who joined the same tracker. See `README.md`.
 */
import { warmUpCrypto } from "./lib/crypto_warmup.ts";

// While the program is loaded.
void warmUpCrypto();
const { runPeerProgram } = await import("./lib/peer_program.ts");
Deno.exit(await runPeerProgram(Deno.args));
