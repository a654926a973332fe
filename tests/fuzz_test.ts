import { assert, assertEquals } from "@std/assert";
import { fuzz, type FuzzTarget, fuzzTargets } from "./fuzz.ts";

const inputs = 2000;

for (const target of fuzzTargets) {
  Deno.test(`hostile ${target.name} are refused, or taken, and nothing else happens`, () => {
    const { findings, refused } = fuzz(target, { seed: 1, inputs });
    assertEquals(findings, []);
    const mayAccept = ["chunk names", "hole puncher", "tracker session"].includes(target.name);
    assert(mayAccept || refused > inputs / 20, `${refused} refused: the inputs are too kind`);
    assert(refused < inputs, "nothing was taken: the inputs are too wild");
  });
}

Deno.test("fuzz() finds what throws and what takes long, by the input's own seed", () => {
  const target: FuzzTarget = {
    name: "trap",
    run: (random) => {
      if (random.below(50) === 7) throw new RangeError("trap");
    },
  };
  const { findings } = fuzz(target, { seed: 1, inputs: 500 });
  assert(findings.length > 0);
  const seed = Number(/seed (\d+): RangeError: trap/.exec(findings[0] ?? "")?.[1]);
  assertEquals(fuzz(target, { seed, inputs: 1 }).findings.length, 1);
});
