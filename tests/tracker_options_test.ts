import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UserError } from "../lib/errors.ts";
import { parseTrackerOptions, trackerHelp, type TrackerSettings } from "../lib/tracker_options.ts";

function settingsOf(args: string[], secret?: string): TrackerSettings {
  const invocation = parse(args, secret);
  if (invocation.action !== "run") throw new Error(`${invocation.action} came of ${args}`);
  return invocation.settings;
}

function parse(args: string[], secret?: string) {
  return parseTrackerOptions(args, (name) => name === "P2P_SECRET" ? secret : undefined);
}

function refusal(args: string[], secret?: string): UserError {
  const error = assertThrows(() => parse(args, secret), UserError);
  assertEquals(error.code, "usage", args.join(" "));
  return error;
}

Deno.test("parseTrackerOptions() has defaults for everything", () => {
  assertEquals(settingsOf([]), {
    host: null,
    port: 7400,
    publicHost: null,
    secret: null,
    stateDirectory: null,
    relay: true,
    relayRate: 0,
    store: null,
    http: null,
    json: false,
  });
});

Deno.test("parseTrackerOptions() takes every option, with = or as two words", () => {
  const words = [
    ...["--host", "::1", "--port=0", "--public", "Tracker.Example", "--secret=a=b c"],
    ...["--state", "dir", "--no-relay", "--relay-rate", "2MiB", "--json"],
    ...["--store", "redis://127.0.0.1:6379", "--http=localhost:7480"],
  ];
  assertEquals(settingsOf(words), {
    host: "::1",
    port: 0,
    publicHost: "tracker.example",
    secret: "a=b c",
    stateDirectory: "dir",
    relay: false,
    relayRate: 2 * 1024 * 1024,
    http: { ip: "127.0.0.1", port: 7480 },
    store: "redis://127.0.0.1:6379",
    json: true,
  });
  assertEquals(settingsOf(["--host", "[2001:DB8::1]"]).host, "2001:db8::1");
  assertEquals(settingsOf(["--public", "[2001:db8::1]"]).publicHost, "2001:db8::1");
});

Deno.test("parseTrackerOptions() takes the secret from the environment unless one is given", () => {
  assertEquals(settingsOf([], "from environment").secret, "from environment");
  assertEquals(settingsOf(["--secret", "given"], "from environment").secret, "given");
});

Deno.test("parseTrackerOptions() knows help and version whatever else is there", () => {
  assertEquals(parse(["--help", "--port", "x"]), { action: "help" });
  assertEquals(parse(["-h"]), { action: "help" });
  assertEquals(parse(["-V"]), { action: "version" });
});

Deno.test("parseTrackerOptions() refuses what it doesn't understand, naming it", () => {
  const cases: [string[], RegExp][] = [
    [["--prot", "1"], /no option --prot/],
    [["-x"], /no option -x/],
    [["-"], /no option -/],
    [["--"], /no option --/],
    [["run"], /no arguments.*"run"/],
    [["--port"], /--port needs a value/],
    [["--port", "1", "--port", "2"], /--port was given twice/],
    [["--json=yes"], /--json takes no value/],
    [["--port", "65536"], /--port is no port number: "65536"/],
    [["--port", "-1"], /--port is no port number/],
    [["--port", ""], /--port is no port number/],
    [["--host", "localhost"], /--host is no IP address: "localhost"/],
    [["--public", "a:7400"], /--public is neither/],
    [["--public", "1.2.3"], /--public is neither/],
    [["--state", ""], /--state names no directory/],
    [["--relay-rate", "fast"], /--relay-rate/],
    [["--secret", ""], /--secret is empty/],
    [["--secret", "a\nb"], /--secret has control characters/],
    [["--secret", "s".repeat(257)], /--secret is longer than 256 bytes/],
    [["--store", "disk:"], /--store is neither memory: nor redis/],
  ];
  for (const [args, message] of cases) {
    assert(message.test(refusal(args).message), refusal(args).message);
  }
  assertEquals(refusal(["--prot", "1"]).hint, "did you mean --port?");
  assert(/P2P_SECRET is empty/.test(refusal([], "").message));
});

Deno.test("parseTrackerOptions() throws nothing but UserError, and no terminal escapes or secrets", () => {
  const word = fc.oneof(
    fc.string(),
    fc.constantFrom("--port", "--host", "--secret", "--json", "-h", "--public=\x1b[31m", "--state"),
  );
  fc.assert(fc.property(fc.array(word, { maxLength: 5 }), (words) => {
    try {
      parse(words);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      assertEquals(error.code, "usage");
      assert(!/\p{Cc}/u.test(error.message), error.message);
    }
  }));
  const secret = "s3cret\n".repeat(60);
  const { message, hint } = refusal(["--secret", secret]);
  assert(!`${message} ${hint}`.includes("s3cret"));
});

Deno.test("trackerHelp() names every option within 100 columns", () => {
  const help = trackerHelp();
  for (const name of ["host", "port", "public", "secret", "state", "json", "help", "version"]) {
    assert(help.includes(`--${name}`), name);
  }
  assertEquals(help.split("\n").filter((line) => line.length > 100), []);
});

Deno.test("--store takes memory: and addresses of Redis, from P2P_STORE too, and repeats none", () => {
  const storeOf = (args: string[], variable?: string) => {
    const environment = (name: string) => name === "P2P_STORE" ? variable : undefined;
    const parsed = parseTrackerOptions(args, environment);
    return parsed.action === "run" ? parsed.settings.store : "";
  };
  assertEquals(storeOf(["--store", "memory:"]), null);
  assertEquals(storeOf(["--store", "redis://127.0.0.1:6379/2"]), "redis://127.0.0.1:6379/2");
  assertEquals(storeOf([], "rediss://:pass@host"), "rediss://:pass@host");
  assertEquals(storeOf(["--store=memory:"], "redis://host"), null);
  for (const wrong of ["redis:", "http://:pass@host", "redis:///pass"]) {
    const error = assertThrows(() => storeOf(["--store", wrong]), UserError);
    assert(error.message.startsWith("--store is neither") && !error.message.includes("pass"));
  }
});
