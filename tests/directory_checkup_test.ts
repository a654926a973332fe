import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { examineDirectory } from "../lib/directory_checkup.ts";
import { adviceOn } from "../lib/doctor_advice.ts";
import type { DoctorCheck } from "../lib/peer_factory.ts";
import { inPlayground } from "./programs.ts";

function examine(directory: string): DoctorCheck[] {
  const checks: DoctorCheck[] = [];
  examineDirectory(directory, (check) => checks.push(check));
  return checks;
}

Deno.test("examineDirectory() finds a sound directory sound, and leaves it as it was", () =>
  inPlayground(async (place) => {
    const directory = await place.directory({ "a file": "x" });
    const checks = examine(directory);
    assertEquals(checks.map(({ check }) => check), ["directory", "disk-space", "keys", "clock"]);
    assert(checks.every(({ outcome }) => outcome !== "bad"), JSON.stringify(checks));
    assertMatch(checks[0]?.detail ?? "", /^can be written, on /);
    assertEquals([...Deno.readDirSync(directory)].map(({ name }) => name), ["a file"]);
  }));

Deno.test("examineDirectory() names a missing directory, a file in its place, and what to do", () =>
  inPlayground(async (place) => {
    const directory = await place.directory({ "a file": "x" });
    for (const path of [join(directory, "missing"), join(directory, "a file")]) {
      const [check] = examine(path);
      assertEquals([check?.check, check?.outcome], ["directory", "bad"]);
      assertEquals(adviceOn(check ? [check] : []).length, 1);
    }
  }));

Deno.test({
  name: "examineDirectory() finds keys that others may read",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inPlayground(async (place) => {
      const directory = await place.directory({ ".p2p/key.pem": "a key" });
      const keys = () => examine(directory).find(({ check }) => check === "keys");
      await Deno.chmod(join(directory, ".p2p/key.pem"), 0o644);
      assertEquals(keys()?.outcome, "bad");
      await Deno.chmod(join(directory, ".p2p/key.pem"), 0o600);
      assertEquals(keys()?.outcome, "good");
    }),
});

Deno.test("examineDirectory() doubts a clock that files are ahead of", () =>
  inPlayground(async (place) => {
    const directory = await place.directory({ "from tomorrow": "x" });
    const later = new Date(Date.now() + 3 * 24 * 3600 * 1000);
    await Deno.utime(join(directory, "from tomorrow"), later, later);
    assertEquals(examine(directory).at(-1)?.outcome, "unknown");
  }));

Deno.test("adviceOn() says one thing about a tracker that is reached in no way", () => {
  const bad = (check: DoctorCheck["check"]): DoctorCheck => ({ check, outcome: "bad", detail: "" });
  assertEquals(adviceOn([bad("tracker-quic"), bad("tracker-tcp")]).length, 1);
  assertEquals(adviceOn([bad("tracker-quic"), bad("ipv6")]), []);
  assertEquals(adviceOn([bad("udp"), bad("nat")]).length, 2);
  assertEquals(adviceOn([{ check: "nat", outcome: "unknown", detail: "" }]), []);
});
