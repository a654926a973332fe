import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Via, viaRank } from "../lib/control.ts";
import { OpenPaths } from "../lib/open_paths.ts";

const ip = "203.0.113.7";

/** Paths of these kinds, the first of them dialled by this side. */
function stage(vias: readonly Via[], { isAsker = true } = {}) {
  const paths = new OpenPaths({ isAsker });
  vias.forEach((via, index) => paths.add(paths.pathOf(index + 1, { via, ip, mine: index === 0 })));
  return paths;
}

Deno.test("OpenPaths nominates the best kind, then what the asker dialled, then the oldest", () => {
  assertEquals(stage(["relayed", "punched", "tcp"]).nominateBest(0)?.best.via, "tcp");
  assertEquals(stage(["quic", "quic", "quic"]).nominateBest(0)?.best.path, 1);
  assertEquals(stage(["quic", "quic", "quic"], { isAsker: false }).nominateBest(0)?.best.path, 2);
  assertEquals(stage([]).nominateBest(0), null);
});

Deno.test("OpenPaths nominates the same on both sides, in whatever order they open", () => {
  const kind = fc.constantFrom<Via>("tcp", "quic", "punched", "relayed");
  const path = fc.record({ via: kind, byAsker: fc.boolean() });
  fc.assert(fc.property(fc.array(path, { minLength: 1, maxLength: 8 }), (opened) => {
    const nominatedBy = (isAsker: boolean, order: typeof opened) => {
      const paths = new OpenPaths({ isAsker });
      for (const [index, { via, byAsker }] of order.entries()) {
        paths.add(paths.pathOf(index + 1, { via, ip, mine: byAsker === isAsker }));
      }
      const best = paths.nominateBest(0)?.best;
      return [best?.via, best?.byAsker];
    };
    assertEquals(nominatedBy(true, opened), nominatedBy(false, opened.toReversed()));
  }));
});

Deno.test("OpenPaths says what replaces what, once", () => {
  const paths = stage(["relayed"]);
  assertEquals(paths.nominateBest(0)?.replaces, null);
  assertEquals(paths.nominateBest(1), null);
  paths.add(paths.pathOf(-1, { via: "punched", ip, mine: false }));
  assertEquals(paths.nominateBest(2)?.replaces, 1);
  assertEquals([paths.isNominated(-1), paths.isNominated(1)], [true, false]);
  paths.delete(-1);
  assertEquals(paths.nominateBest(3)?.best.path, 1, "back to what is left");
});

Deno.test("OpenPaths lets an equal path of the asker take over for a moment only", () => {
  const paths = stage(["quic"], { isAsker: false });
  paths.nominateBest(1_000);
  const byAsker = paths.pathOf(-1, { via: "quic", ip, mine: false });
  assertEquals([paths.supersedes(byAsker, 1_250), paths.supersedes(byAsker, 1_251)], [true, false]);
  for (const via of Object.keys(viaRank) as Via[]) {
    const other = paths.pathOf(-2, { via, ip, mine: true });
    assertEquals(paths.supersedes(other, 1_100), via === "tcp", via);
    assertEquals(paths.improves(via), via === "tcp", via);
  }
});

Deno.test("OpenPaths knows what this side has dialled, and is full in the end", () => {
  const paths = stage(["quic"]);
  paths.add(paths.pathOf(-1, { via: "tcp", ip, mine: false }));
  assertEquals(paths.hasDialled({ via: "quic", ip }), true);
  assertEquals(paths.hasDialled({ via: "tcp", ip }), false, "that was accepted");
  assertEquals(paths.hasDialled({ via: "quic", ip: "203.0.113.8" }), false);
  for (let count = paths.size; count < 8; count++) {
    paths.add(paths.pathOf(-count, { via: "quic", ip, mine: false }));
  }
  assertEquals([paths.size, paths.isFull], [8, true]);
  paths.clear();
  assertEquals([paths.size, paths.isFull, paths.has(1)], [0, false, false]);
});
