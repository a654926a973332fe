import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  birthdayRole,
  canPunch,
  classifyNat,
  isDependent,
  type MappingObservation,
  type NatClass,
  predictPorts,
} from "../lib/nat.ts";
import { natPairs } from "./simulated_pair.ts";

const local = { ip: "192.168.1.5", port: 7500 };
const publicIp = "198.51.100.7";
const classes: NatClass[] = [
  "unknown",
  "open",
  "independent",
  "dependent-sequential",
  "dependent-random",
];

const classified: { name: string; ports: number[]; natClass: NatClass; step: number | null }[] = [
  { name: "nothing was observed", ports: [], natClass: "unknown", step: null },
  { name: "one port was seen once", ports: [7500], natClass: "unknown", step: null },
  { name: "both see the same port", ports: [40_000, 40_000], natClass: "independent", step: null },
  { name: "both see the local port", ports: [7500, 7500], natClass: "independent", step: null },
  { name: "the port goes up by one", ports: [500, 501], natClass: "dependent-sequential", step: 1 },
  { name: "it goes down by two", ports: [502, 500], natClass: "dependent-sequential", step: -2 },
  {
    name: "others took a port between",
    ports: [500, 503, 504],
    natClass: "dependent-sequential",
    step: 1,
  },
  {
    name: "the mapping is of the address, and then sequential",
    ports: [500, 500, 501],
    natClass: "dependent-sequential",
    step: 1,
  },
  { name: "ports are far apart", ports: [500, 9000], natClass: "dependent-random", step: null },
  { name: "a step is too wide", ports: [500, 517], natClass: "dependent-random", step: null },
  {
    name: "ports go up and down",
    ports: [500, 502, 501],
    natClass: "dependent-random",
    step: null,
  },
];

for (const { name, ports, natClass, step } of classified) {
  Deno.test(`classifyNat() says ${natClass} when ${name}`, () => {
    const profile = classifyNat(ports.map((port) => observation(publicIp, port)), [local.ip]);
    assertEquals([profile.natClass, profile.step], [natClass, step]);
    assertEquals(profile.last?.port, ports.at(-1));
  });
}

Deno.test("classifyNat() says open when the interface's own address is seen", () => {
  const seen = [observation(local.ip, local.port)];
  assertEquals(classifyNat(seen, ["10.0.0.1", local.ip]).natClass, "open");
  assertEquals(classifyNat(seen, ["10.0.0.1"]).natClass, "unknown");
});

Deno.test("classifyNat() says dependent when a carrier gives every destination another address", () => {
  const seen = [observation("198.51.100.7", 500), observation("198.51.100.8", 501)];
  assertEquals(classifyNat(seen, [local.ip]).natClass, "dependent-random");
});

Deno.test("classifyNat() tells port preservation from its lack", () => {
  const preserved = classifyNat([observation(publicIp, 7500), observation(publicIp, 7500)], []);
  assert(preserved.portPreserving);
  const changed = classifyNat([observation(publicIp, 7500), observation(publicIp, 7501)], []);
  assert(!changed.portPreserving);
  assert(!classifyNat([], []).portPreserving);
});

Deno.test("predictPorts() counts on by the step and stays off the privileged ports", () => {
  assertEquals(predictPorts(5000, 2, 3), [5002, 5004, 5006]);
  assertEquals(predictPorts(65_534, 1, 3), [65_535, 1024, 1025]);
  assertEquals(predictPorts(1025, -1, 3), [1024, 65_535, 65_534]);
  assertEquals(predictPorts(5000, 1, 0), []);
});

Deno.test("predictPorts() gives ports only, whatever it is asked", () => {
  const integer = (min: number, max: number) => fc.integer({ min, max });
  fc.assert(
    fc.property(integer(1, 65_535), integer(-16, 16), integer(0, 900), (last, step, count) => {
      const ports = predictPorts(last, step, count);
      assertEquals(ports.length, count);
      assert(ports.every((port) => port >= 1024 && port <= 65_535));
    }),
  );
});

Deno.test("canPunch() finds the 28 and 25 pairs of RFC 4787 for bare datagrams", () => {
  assertEquals(punchable("endpoint", false), 28);
  assertEquals(punchable("mapping", false), 25);
});

Deno.test("canPunch() leaves out two port-dependent mappings when answers must come from the address dialled", () => {
  assertEquals(punchable("endpoint", true), 25);
  assertEquals(punchable("mapping", true), 23);
});

Deno.test("canPunch() does not depend on who is named first", () => {
  for (const [one, other] of natPairs) {
    for (const scope of ["endpoint", "mapping"] as const) {
      for (const symmetric of [true, false]) {
        const options = { scope, symmetric };
        assertEquals(canPunch(one, other, options), canPunch(other, one, options));
      }
    }
  }
});

Deno.test("birthdayRole() gives the two sides parts that fit", () => {
  const partner = { opener: "prober", prober: "opener", both: "both", none: "none" } as const;
  for (const self of classes) {
    for (const other of classes) {
      assertEquals(birthdayRole(other, self), partner[birthdayRole(self, other)]);
    }
  }
});

Deno.test("birthdayRole() has the dependent side open ports and leaves hopeless and easy pairs", () => {
  assertEquals(birthdayRole("dependent-random", "independent"), "opener");
  assertEquals(birthdayRole("independent", "dependent-sequential"), "prober");
  assertEquals(birthdayRole("independent", "independent"), "both");
  assertEquals(birthdayRole("dependent-random", "dependent-sequential"), "none");
  assertEquals(birthdayRole("open", "dependent-random"), "none");
});

Deno.test("isDependent() is true of the endpoint-dependent classes alone", () => {
  assertEquals(classes.filter(isDependent), ["dependent-sequential", "dependent-random"]);
});

function observation(ip: string, port: number): MappingObservation {
  return { local, reflexive: { ip, port } };
}

function punchable(scope: "endpoint" | "mapping", symmetric: boolean): number {
  return natPairs.filter(([one, other]) => canPunch(one, other, { scope, symmetric })).length;
}
