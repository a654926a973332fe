/**
 * What may happen to a router in the middle of a download, and how long the download then stands still.
 */
import { type Attempt, attempt } from "./lab_attempt.ts";
import { type LabPair, labPairs, type LabPeers } from "./lab_pairs.ts";
import type { LabRouter, NetLab } from "./net_lab.ts";

const pairName = "port-restricted → port-restricted";

/** Leaves time for something to happen: the download takes two seconds. */
const rate = "2MiB";

const newIp = "203.0.113.99";

export interface LabOutage {
  name: string;
  side: keyof LabPeers;
  happen(lab: NetLab, router: LabRouter): Promise<void>;
}

const sides = ["seeder", "downloader"] as const;

export const labOutages: LabOutage[] = sides.flatMap((side) => [
  {
    name: `the ${side}'s router forgets everything`,
    side,
    happen: (lab, router) => lab.restart(router),
  },
  {
    name: `the ${side}'s router gets another address`,
    side,
    happen: (lab, router) => lab.renumber(router, newIp),
  },
]);

export async function attemptWithOutage({ side, happen }: LabOutage): Promise<Attempt> {
  return await attempt(routedPair(), {
    rate,
    midway: async (lab, peers) => {
      const { router } = peers[side];
      if (router === undefined) throw new Error(`the ${side} has no router`);
      await happen(lab, router);
    },
  });
}

function routedPair(): LabPair {
  const pair = labPairs.find(({ name }) => name === pairName);
  if (pair === undefined) throw new Error(`there is no pair ${pairName}`);
  return pair;
}
