/**
 * The systemd units of scripts/: as systemd reads them, how tight they are, and that what they start exists.
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { parseOptions } from "../lib/options.ts";
import { parseTrackerOptions } from "../lib/tracker_options.ts";
import { inPlayground, repository } from "./programs.ts";

/** `systemd-analyze security`: 0 is a sandbox without gaps, 10 none at all. */
const maxExposure = 2;

const units = [
  { file: "p2p-tracker.service", name: "p2p-tracker.service" },
  { file: "p2p-peer@.service", name: "p2p-peer@srv-films.service" },
];

const whyNot = await lookForSystemd();

async function lookForSystemd(): Promise<string | null> {
  try {
    const { success } = await new Deno.Command("systemd-analyze", { args: ["--version"] }).output();
    return success ? null : "systemd-analyze doesn't run";
  } catch {
    return "there is no systemd-analyze (apt-get install systemd)";
  }
}

async function analyze(args: string[]): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command("systemd-analyze", { args }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return { code, text };
}

for (const { file, name } of units) {
  const skipped = whyNot === null ? "" : ` (skipped: ${whyNot})`;
  Deno.test({
    name: `systemd takes ${file}, and finds it tight${skipped}`,
    ignore: whyNot !== null,
    fn: () =>
      inPlayground(async (place) => {
        const text = await Deno.readTextFile(join(repository, "scripts", file));
        const path = join(place.root, name);
        // The programs needn't be installed for this.
        await Deno.writeTextFile(path, text.replaceAll(/\/usr\/local\/bin\/\w+/g, "/bin/true"));
        const verified = await analyze(["verify", path]);
        assertEquals([verified.code, verified.text], [0, ""]);
        const { text: score } = await analyze(["security", "--offline=true", "--no-pager", path]);
        const exposure = Number(/exposure level for .*: ([\d.]+)/.exec(score)?.[1]);
        assert(exposure <= maxExposure, score);
      }),
  });
}

Deno.test("the units start the programs with words that these take", async () => {
  const wordsIn = async (file: string) => {
    const text = await Deno.readTextFile(join(repository, "scripts", file));
    const line = /^ExecStart=\S+ (.*)$/m.exec(text)?.[1] ?? "";
    return line.replace("${STATE_DIRECTORY}", "/var/lib/p2p").replace("%f", "/srv/films").split(
      " ",
    );
  };
  const tracker = parseTrackerOptions(await wordsIn("p2p-tracker.service"), () => undefined);
  assertEquals(tracker.action, "run");
  const peer = parseOptions(await wordsIn("p2p-peer@.service"), () => undefined);
  assertEquals([peer.action.kind, peer.settings.dir, peer.settings.json], [
    "share",
    "/srv/films",
    true,
  ]);
});
