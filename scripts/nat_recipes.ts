/**
 * What Linux routers are told so that they behave like the NATs of RFC 4787, as rules for `nft`. A router has one
 * interface `wan` and one `lan`.
 *
 * Plain masquerading keeps a free port and lets in answers alone: endpoint-independent mapping, address- and
 * port-dependent filtering. The other kinds of filtering are a destination NAT of unsolicited packets to the host
 * that has used the port, with or without having contacted their sender. A random port for every connection is
 * address- and port-dependent mapping.
 */

export type Mapping = "independent" | "dependent";

/** Who may send to a mapped port: anybody, any port of an address contacted, the very address and port. */
export type Filtering = "none" | "address" | "port";

/** What an unsolicited packet meets: silence, an ICMP refusal, or a router that remembers it as its own. */
export type Unsolicited = "drop" | "reject" | "remember";

/**
 * Which of its public addresses a router with several gives a mapping (RFC 4787, section 4.1, REQ-2): always the same
 * to one host, or another one to each of its ports.
 */
export type Pooling = "paired" | "arbitrary";

export interface Recipe {
  mapping: Mapping;
  filtering: Filtering;
  /** Absent: `drop`. */
  unsolicited?: Unsolicited;
  /** Whether hosts behind it reach each other at its public address. */
  hairpin?: boolean;
  /** No UDP passes at all. */
  isUdpBlocked?: boolean;
  /** With several public addresses; absent: there is one. */
  pooling?: Pooling;
}

export const recipes = {
  "full cone": { mapping: "independent", filtering: "none" },
  "address-restricted": { mapping: "independent", filtering: "address" },
  "port-restricted": { mapping: "independent", filtering: "port" },
  "symmetric": { mapping: "dependent", filtering: "port" },
} as const satisfies Record<string, Recipe>;

/** The ruleset of a router with these public addresses: the first one alone, unless the recipe pools. */
export function rulesetOf(recipe: Recipe, publicIps: readonly string[]): string {
  const { isUdpBlocked, hairpin } = recipe;
  const [publicIp = ""] = publicIps;
  return `
    table ip lab {
      map owners { type inet_service : ipv4_addr; flags dynamic,timeout; timeout 300s; size 65535; }
      set contacted { type ipv4_addr . inet_service; flags dynamic,timeout; timeout 300s; size 65535; }
      chain learn {
        type filter hook forward priority -10; policy accept;
        ${isUdpBlocked ? "meta l4proto udp drop" : ""}
        iifname "lan" meta l4proto udp update @owners { udp sport : ip saddr }
        iifname "lan" meta l4proto udp update @contacted { ip daddr . udp sport }
      }
      chain forward {
        type filter hook forward priority 0; policy drop;
        iifname "lan" accept
        ct state established,related accept
        ct status dnat accept
      }
      chain arrive {
        type nat hook prerouting priority -100; policy accept;
        ${unsolicitedRule(recipe.filtering)}
        ${hairpin ? hairpinRule(publicIp) : ""}
      }
      chain leave {
        type nat hook postrouting priority 100; policy accept;
        ${hairpin ? `oifname "lan" ct status dnat snat to ${publicIp}` : ""}
        oifname "wan" ${sourceRule(recipe, publicIps)}
      }
      chain input {
        type filter hook input priority 0; policy accept;
        ct state established,related accept
        ${inputRule(recipe.unsolicited ?? "drop")}
      }
    }`;
}

function sourceRule({ mapping, pooling }: Recipe, publicIps: readonly string[]): string {
  const ports = mapping === "dependent" ? ["fully-random"] : [];
  if (pooling === undefined) return ["masquerade", ...ports].join(" ");
  const of = pooling === "paired" ? "ip saddr" : "ip saddr . th sport";
  const choices = publicIps.map((ip, index) => `${index} : ${ip}`).join(", ");
  const choice = `jhash ${of} mod ${publicIps.length} seed 0x1 map { ${choices} }`;
  return `meta l4proto { tcp, udp } snat to ${choice} ${ports.join(" ")}`;
}

/**
 * What a router lets through of IPv6, which it doesn't translate: answers, as a home router's firewall does (RFC 6092).
 */
export const ip6Firewall = `
    table ip6 lab {
      chain forward {
        type filter hook forward priority 0; policy drop;
        iifname "lan" accept
        ct state established,related accept
      }
      chain input {
        type filter hook input priority 0; policy accept;
        iifname "wan" meta l4proto { tcp, udp } drop
      }
    }`;

function unsolicitedRule(filtering: Filtering): string {
  const toOwner = "dnat to udp dport map @owners";
  if (filtering === "none") return `iifname "wan" meta l4proto udp ${toOwner}`;
  if (filtering === "port") return "";
  return `iifname "wan" meta l4proto udp ip saddr . udp dport @contacted ${toOwner}`;
}

function hairpinRule(publicIp: string): string {
  return `iifname "lan" ip daddr ${publicIp} meta l4proto udp dnat to udp dport map @owners`;
}

function inputRule(unsolicited: Unsolicited): string {
  if (unsolicited === "remember") return "";
  const refusal = unsolicited === "drop" ? "drop" : "reject with icmp type port-unreachable";
  return `iifname "wan" meta l4proto udp ${refusal}
        iifname "wan" meta l4proto tcp drop`;
}
