/**
 * Holds the code against the map in lib/README.md: who may import whom, who may touch the outside world, and
 * that nothing lies about unused.
 */
import { assert, assertEquals } from "@std/assert";
import { basename, join } from "node:path";
import { repository } from "./programs.ts";

const lib = join(repository, "lib");
const entries = ["tracker.ts", "peer.ts"];
const longestFunctionLines = 70;

const topLevel = [
  ...entries,
  ".ci",
  ".git",
  ".github",
  ".gitignore",
  "LICENSE",
  "README.md",
  "deno.json",
  "deno.lock",
  "lib",
  "scripts",
  "tests",
];

/** What only the top layer may touch. */
const outsideWorld: { what: string; pattern: RegExp }[] = [
  { what: "Deno", pattern: /\bDeno\b/ },
  { what: "a timer", pattern: /\b(?:setTimeout|setInterval|setImmediate)\b/ },
  { what: "the clock", pattern: /\bDate\.now\b|\bnew Date\(\)|\bperformance\b|\bTemporal\.Now\b/ },
  {
    what: "random numbers",
    pattern: /\bMath\.random\b|\bgetRandomValues\b|\brandom(?:Bytes|UUID|Int)\b|\bgenerateKey/,
  },
  { what: "the network", pattern: /\bfetch\(|\bWebSocket\b/ },
  { what: "the process", pattern: /\bprocess\b\.|\bconsole\b\./ },
  { what: "a worker", pattern: /\bnew Worker\(/ },
];

/** Of Node's modules, below the top layer: functions of the bytes given and nothing else. */
const pureImports: Record<string, string[]> = {
  "node:buffer": ["Buffer"],
  "node:crypto": [
    "KeyObject",
    "createHash",
    "createPrivateKey",
    "createPublicKey",
    "hash",
    "sign",
    "timingSafeEqual",
    "verify",
  ],
};

/** Text that a browser runs, not these programs; and what loads some of the pure functions above when they are used. */
const exemptRooms = ["page_script", "node_crypto"];

interface Import {
  from: string;
  names: string[];
}

interface Room {
  name: string;
  layer: number;
  /** The source without comments. */
  code: string;
  imports: Import[];
}

const layers = await readLayers();
const topLayer = Math.max(...layers.values());
const rooms = await readRooms();

Deno.test("the map of lib/README.md has every room of lib/ exactly once and no other", () => {
  const files = [...Deno.readDirSync(lib)].map((entry) => entry.name)
    .filter((name) => !name.endsWith(".md"));
  assertEquals([...layers.keys()].sort(), files.map((name) => name.replace(/\.ts$/, "")).sort());
});

Deno.test("a room imports from lower layers, or its own without a circle", () => {
  const upward = rooms.flatMap((room) =>
    neighbours(room)
      .filter((other) => other.layer > room.layer)
      .map((other) => `${room.name} (${room.layer}) imports ${other.name} (${other.layer})`)
  );
  assertEquals(upward, []);
  assertEquals(rooms.flatMap(circleThrough), []);
});

Deno.test("only the top layer touches the outside world", () => {
  const below = rooms.filter(({ layer, name }) => layer < topLayer && !exemptRooms.includes(name));
  const touches = below.flatMap((room) =>
    outsideWorld.filter(({ pattern }) => pattern.test(room.code))
      .map(({ what }) => `${room.name} touches ${what}`)
  );
  assertEquals(touches, []);
});

Deno.test("below the top layer the modules of Node are used for pure functions alone", () => {
  const touches = rooms.filter((room) => room.layer < topLayer).flatMap((room) =>
    room.imports.filter(({ from }) => from.startsWith("node:")).flatMap(({ from, names }) =>
      names.filter((name) => !pureImports[from]?.includes(name))
        .map((name) => `${room.name} imports ${name} of ${from}`)
    )
  );
  assertEquals(touches, []);
});

Deno.test("every room of lib/ is used by one of the programs", async () => {
  const used = new Set<string>();
  const waiting = (await Promise.all(entries.map((entry) => readSource(join(repository, entry)))))
    .flatMap(roomNamesIn);
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (used.has(name)) continue;
    used.add(name);
    waiting.push(...roomNamesIn(rooms.find((room) => room.name === name)?.code ?? ""));
  }
  assertEquals(rooms.map((room) => room.name).filter((name) => !used.has(name)), []);
});

Deno.test("the code has no untyped values, silenced checks or loose ends", async () => {
  const untyped = /(?::|<|\bas|\||,)\s*any\b\s*[;,)>=|[\]]/;
  const silenced = new RegExp(
    ["@ts-" + "(ignore|nocheck|expect-error)", "deno-lint-" + "ignore", "\\bTO" + "DO\\b"]
      .concat("\\bFIX" + "ME\\b").join("|"),
  );
  const found = (await everySource()).flatMap(({ path, text }) => [
    ...(silenced.test(text) ? [`${path}: ${silenced.exec(text)?.[0]}`] : []),
    ...(untyped.test(withoutComments(text)) ? [`${path}: any`] : []),
  ]);
  assertEquals(found, []);
});

Deno.test("no function is longer than a screen", async () => {
  const long = (await everySource()).flatMap(({ path, text }) =>
    functionLengths(text).filter(({ length }) => length > longestFunctionLines)
      .map(({ header, length }) => `${path}: ${header} has ${length} lines`)
  );
  assertEquals(long, []);
});

Deno.test("the top level of the repository is as agreed", async () => {
  const ignored = (await Deno.readTextFile(join(repository, ".gitignore"))).split("\n")
    .map((line) => line.replace(/\/$/, ""));
  const found = [...Deno.readDirSync(repository)].map((entry) => entry.name)
    .filter((name) => !ignored.includes(name));
  assertEquals(found.filter((name) => !topLevel.includes(name)), []);
  for (const entry of entries) assert(found.includes(entry), `${entry} is missing`);
});

async function readLayers(): Promise<Map<string, number>> {
  const map = new Map<string, number>();
  const text = await Deno.readTextFile(join(lib, "README.md"));
  for (const [, layer, names] of text.matchAll(/^\| (\d) [^|]+ \| (.*) \|$/gm)) {
    for (const [, name = ""] of (names ?? "").matchAll(/`(\w+)`/g)) {
      assert(!map.has(name), `${name} stands twice in the map`);
      map.set(name, Number(layer));
    }
  }
  assert(map.size > 0, "lib/README.md has no map of layers");
  return map;
}

async function readRooms(): Promise<Room[]> {
  const names = [...Deno.readDirSync(lib)].map((entry) => entry.name)
    .filter((name) => name.endsWith(".ts")).sort();
  return await Promise.all(names.map(async (file) => {
    const code = await readSource(join(lib, file));
    const name = basename(file, ".ts");
    return { name, layer: layers.get(name) ?? topLayer, code, imports: importsOf(code) };
  }));
}

async function readSource(path: string): Promise<string> {
  return withoutComments(await Deno.readTextFile(path).catch(() => ""));
}

async function everySource(): Promise<{ path: string; text: string }[]> {
  const paths = entries.slice();
  for (const directory of ["lib", "tests", "scripts"]) {
    for (const entry of Deno.readDirSync(join(repository, directory))) {
      if (entry.name.endsWith(".ts")) paths.push(join(directory, entry.name));
    }
  }
  const read = (path: string) => Deno.readTextFile(join(repository, path)).catch(() => "");
  return await Promise.all(paths.map(async (path) => ({ path, text: await read(path) })));
}

/** Strings are matched so that a `//` in them isn't taken for a comment. */
function withoutComments(text: string): string {
  const strings = /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/.source;
  return text.replace(new RegExp(`(${strings})|/\\*[^]*?\\*/|//.*`, "g"), "$1");
}

function importsOf(code: string): Import[] {
  const pattern = /^(?:import|export)\s+(?:type\s+)?([^"';]*?)\s*from\s+"([^"]+)"/gm;
  return [...code.matchAll(pattern)].map(([, names = "", from = ""]) => ({
    from,
    names: names.replace(/[{}]/g, "").split(",")
      .map((name) => name.trim().replace(/^type /, "").replace(/ as .*/, ""))
      .filter((name) => name !== ""),
  }));
}

/** The rooms that a source names, in imports and as the files of workers. */
function roomNamesIn(code: string): string[] {
  return [...code.matchAll(/"\.\/(?:lib\/)?(\w+)\.ts"/g)].map(([, name = ""]) => name);
}

function neighbours(room: Room): Room[] {
  const names = roomNamesIn(room.code);
  return rooms.filter((other) => names.includes(other.name));
}

/** A path of imports within one layer that comes back to `room`, if there is one. */
function circleThrough(room: Room): string[] {
  const waiting = neighbours(room).map((other) => [room, other]);
  const seen = new Set<Room>();
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const last = path.at(-1) ?? room;
    if (last === room) return [path.map(({ name }) => name).join(" → ")];
    if (seen.has(last) || last.layer !== room.layer) continue;
    seen.add(last);
    for (const next of neighbours(last)) waiting.push([...path, next]);
  }
  return [];
}

/** The formatter puts a function's end at the indent of its beginning, and so the end of its parameters. */
function functionLengths(text: string): { header: string; length: number }[] {
  const lines = text.split("\n");
  const start =
    /^(\s*)(?:export |default |static |override |async |get |set )*(?:function\b|(?!(?:if|for|while|switch|catch|return)\b)[#\w]+\().*[{(]$/;
  const bodyStart = /\)(?:: .+)? \{$/;
  return lines.flatMap((line, index) => {
    const indent = start.exec(line)?.[1];
    if (indent === undefined) return [];
    const next = (after: number, pattern: RegExp) =>
      lines.findIndex((other, at) =>
        at > after && other.startsWith(indent) && pattern.test(other.slice(indent.length))
      );
    const body = line.endsWith("(") ? next(index, /^\)/) : index;
    if (!bodyStart.test(lines[body] ?? "")) return [];
    return [{ header: line.trim(), length: next(body, /^\}/) - index + 1 }];
  });
}
