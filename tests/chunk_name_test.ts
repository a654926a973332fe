import { assert, assertEquals } from "@std/assert";
import { formatChunkName, parseChunkName, resemblesChunkName } from "../lib/chunk_name.ts";

const hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const digest = Uint8Array.fromHex(hex);

Deno.test("parseChunkName() reads what formatChunkName() writes", () => {
  for (const chunk of [0, 1, 9, 10, 1023, 65535]) {
    const name = formatChunkName(digest, chunk);
    assertEquals(name, `${hex}.${chunk}.chunk`);
    assertEquals(parseChunkName(name), { digest, hex, chunk });
  }
});

Deno.test("parseChunkName() refuses everything else", () => {
  const spoiled = [`${hex}.65536.chunk`, `${hex}.007.chunk`, `${hex}.99999999999999999999.chunk`];
  const spoiltCase = [`${hex.toUpperCase()}.1.chunk`, `${hex}.1.CHUNK`];
  const others = [
    "",
    "readme.txt",
    `${hex}.chunk`,
    `${hex}..chunk`,
    `${hex}.-1.chunk`,
    `${hex}.1e3.chunk`,
    `${hex}.1.chunk.txt`,
    `x${hex}.1.chunk`,
    `${hex.slice(1)}.1.chunk`,
    `${hex}.1.chunk\n`,
    `${hex.slice(1)}g.1.chunk`,
  ];
  for (const name of [...spoiled, ...spoiltCase, ...others]) {
    assertEquals(parseChunkName(name), null);
  }
  for (const name of [...spoiled, ...spoiltCase]) assert(resemblesChunkName(name));
  for (const name of others) assert(!resemblesChunkName(name), name);
});
