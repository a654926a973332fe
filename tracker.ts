/**
 * The tracker: introduces peers to each other.
 */
import { runTracker } from "./lib/tracker_program.ts";

Deno.exit(await runTracker(Deno.args));
