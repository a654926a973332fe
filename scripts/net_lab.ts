/**
 * A small internet on one machine: hosts and routers are network namespaces of their own, joined by virtual
 * cables. In the middle is a core that knows the way to every public address, and counts what is sent to any
 * other. Nothing of it touches the machine's own network, and closing removes all of it.
 *
 *     host ─ lan [router] wan ─┐
 *                              ├─ core (203.0.113.254) ─ public host
 *     host ─ lan [router] wan ─┘
 *
 * Needs root, `ip` and `nft`.
 */
import { ip6Firewall, type Recipe, rulesetOf } from "./nat_recipes.ts";

/** Of every namespace. The process id follows, so that what a killed laboratory left can be told and removed. */
const prefix = "p2p-lab-";

const coreIp = "203.0.113.254";

/** Of what hangs at the core. */
const routesToCore = [
  `route add ${coreIp}/32 dev wan`,
  `route add default via ${coreIp} dev wan`,
];

/** The two ends of each cable to the core, for IPv6. */
const coreLink6 = "fe80::1";
const siteLink6 = "fe80::2";

/** How many addresses a router has that has several. */
const poolSize = 4;

/** The share of packets that a core with loss drops, of each hundred. */
export const lossPercent = 5;

const namespaceDirectory = "/run/netns";

/** Of files that take the place of those in /etc for what runs in a namespace (ip-netns(8)). */
const replacedDirectory = "/etc/netns";

/** A namespace with a network of its own. */
export interface LabHost {
  namespace: string;
  ip: string;
  ip6?: string;
  /** What it sits behind, if anything. */
  router?: LabRouter;
}

export interface LabRouter extends LabHost {
  /** The address of its `lan` side; hosts are numbered up from it. */
  lanIp: string;
  hostCount: number;
  /** The IPv6 address of its `lan` side; hosts are numbered up from it. */
  lanIp6?: string;
}

export interface PacketCount {
  udp: number;
  tcp: number;
}

let labCount = 0;

export class NetLab {
  readonly #name: string;
  readonly #core: string;
  readonly #namespaces: string[] = [];
  /** The core's end of the cable to each namespace. */
  readonly #cables = new Map<string, string>();
  #cableCount = 0;

  static async create(): Promise<NetLab> {
    const lab = new NetLab(`${prefix}${Deno.pid}-${++labCount}-`);
    try {
      await lab.#addCore();
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  private constructor(name: string) {
    this.#name = name;
    this.#core = `${name}core`;
  }

  /** A host with a public address, and one for IPv6 if given. */
  async addPublicHost(ip: string, ip6?: string): Promise<LabHost> {
    const host = await this.#attachToCore(ip);
    if (ip6 === undefined) return host;
    await this.#routeToSite6(host.namespace, `${ip6}/128`);
    await configure(host.namespace, [`addr add ${ip6}/128 dev wan nodad`]);
    return { ...host, ip6 };
  }

  /** A router with a public address, or several in a row from that one on if the recipe pools. */
  async addRouter(ip: string, lanIp: string, recipe: Recipe): Promise<LabRouter> {
    const { namespace } = await this.#attachToCore(ip);
    const count = recipe.pooling === undefined ? 1 : poolSize;
    const ips = Array.from({ length: count }, (_, index) => nextIp(ip, index));
    for (const more of ips.slice(1)) await this.#addAddress(namespace, more);
    return await this.#makeRouter({ namespace, ip }, { lanIp, recipe, ips });
  }

  /** A router behind a router. */
  async addRouterBehind(outer: LabRouter, lanIp: string, recipe: Recipe): Promise<LabRouter> {
    const { namespace, ip } = await this.#attachToRouter(outer, "wan");
    return await this.#makeRouter({ namespace, ip }, { lanIp, recipe, ips: [ip] });
  }

  /** A router at the core, and the hosts added from then on, get IPv6 as well: no NAT, but a firewall. */
  async addIp6(router: LabRouter, prefix: string): Promise<void> {
    await this.#routeToSite6(router.namespace, `${prefix}::/64`);
    router.lanIp6 = `${prefix}::1`;
    await configure(router.namespace, [`addr add ${router.lanIp6}/64 dev lan nodad`]);
    await nft(router.namespace, ip6Firewall);
  }

  /** A host behind a router. */
  async addHost(router: LabRouter): Promise<LabHost> {
    const host: LabHost = { ...await this.#attachToRouter(router, "eth"), router };
    if (router.lanIp6 === undefined) return host;
    host.ip6 = `${router.lanIp6}${router.hostCount}`;
    await configure(host.namespace, [
      `addr add ${host.ip6}/64 dev eth nodad`,
      `route add default via ${router.lanIp6}`,
    ]);
    return host;
  }

  /** What runs there from here on finds these addresses under the name. */
  async giveName({ namespace }: LabHost, name: string, ips: string[]): Promise<void> {
    const directory = `${replacedDirectory}/${namespace}`;
    await Deno.mkdir(directory, { recursive: true });
    const lines = ["127.0.0.1 localhost", ...ips.map((ip) => `${ip} ${name}`)];
    await Deno.writeTextFile(`${directory}/hosts`, lines.join("\n") + "\n");
  }

  /** The core loses packets from here on, at random. */
  async loseSome(): Promise<void> {
    await nft(
      this.#core,
      `table inet loss {
        chain pass {
          type filter hook forward priority 10; policy accept;
          meta l4proto { tcp, udp } numgen random mod 100 < ${lossPercent} drop
        }
      }`,
    );
  }

  /** A router at the core loses all its mappings, as if switched off and on. */
  async restart({ namespace }: LabRouter): Promise<void> {
    await configure(namespace, ["link set wan down", "link set wan up", ...routesToCore]);
  }

  /** A router at the core gets another public address, and with it other mappings. */
  async renumber(router: LabRouter, ip: string): Promise<void> {
    const cable = this.#cables.get(router.namespace);
    await configure(this.#core, [`route add ${ip}/32 dev ${cable}`, `route del ${router.ip}/32`]);
    await nft(this.#core, `add element inet core known { ${ip} }`);
    await configure(router.namespace, [
      `addr add ${ip}/32 dev wan`,
      `addr del ${router.ip}/32 dev wan`,
      "link set wan down",
      "link set wan up",
      ...routesToCore,
    ]);
    router.ip = ip;
  }

  /** Packets that anybody sent, past the routers, to an address that isn't in the laboratory. */
  async strayPacketCount(): Promise<number> {
    return (await countersOf(this.#core)).get("stray") ?? Number.NaN;
  }

  /** Begins to count, at the host itself, what it sends to others than those. */
  async countUnanswered({ namespace }: LabHost, except: string[]): Promise<void> {
    const ips = (family: string) => except.filter((ip) => ip.includes(":") === (family === "ip6"));
    const passes = ["ip", "ip6"].filter((family) => ips(family).length > 0)
      .map((family) => `${family} daddr { ${ips(family).join(", ")} } accept`);
    await nft(
      namespace,
      `table inet cost {
        counter datagrams { }
        counter segments { }
        chain leave {
          type filter hook output priority 0; policy accept;
          oifname "lo" accept
          ${passes.join("\n")}
          meta l4proto udp ct state new counter name datagrams
          meta l4proto tcp ct state new counter name segments
        }
      }`,
    );
  }

  /**
   * UDP datagrams and TCP segments that have been sent since to where nothing has come from: dials and probes, up
   * to their answer.
   */
  async unansweredCount({ namespace }: LabHost): Promise<PacketCount> {
    const counts = await countersOf(namespace);
    return { udp: counts.get("datagrams") ?? 0, tcp: counts.get("segments") ?? 0 };
  }

  async close(): Promise<void> {
    await Promise.all(this.#namespaces.splice(0).map(removeNamespace));
  }

  async #addCore(): Promise<void> {
    await this.#addNamespace(this.#core);
    await nft(
      this.#core,
      `table inet core {
        set known { type ipv4_addr; }
        set known6 { type ipv6_addr; flags interval; }
        counter stray { }
        chain arrive {
          type filter hook prerouting priority 0; policy accept;
          meta l4proto { tcp, udp } ip daddr != @known counter name stray drop
          meta l4proto { tcp, udp } ip6 daddr != @known6 counter name stray drop
        }
      }`,
    );
  }

  /** One more public address of what hangs at the core. */
  async #addAddress(namespace: string, ip: string): Promise<void> {
    const cable = this.#cables.get(namespace);
    await configure(this.#core, [`route add ${ip}/32 dev ${cable}`]);
    await configure(namespace, [`addr add ${ip}/32 dev wan`]);
    await nft(this.#core, `add element inet core known { ${ip} }`);
  }

  /** What hangs at the core has these IPv6 addresses behind its cable. */
  async #routeToSite6(namespace: string, addresses: string): Promise<void> {
    const cable = this.#cables.get(namespace);
    await configure(this.#core, [
      `addr add ${coreLink6}/64 dev ${cable} nodad`,
      `route add ${addresses} via ${siteLink6} dev ${cable}`,
    ]);
    await configure(namespace, [
      `addr add ${siteLink6}/64 dev wan nodad`,
      `route add default via ${coreLink6} dev wan`,
    ]);
    await nft(this.#core, `add element inet core known6 { ${addresses} }`);
  }

  async #attachToCore(ip: string): Promise<LabHost> {
    const namespace = `${this.#name}${ip}`;
    await this.#addNamespace(namespace);
    const cable = `cable${++this.#cableCount}`;
    await this.#layCable({ namespace: this.#core, end: cable }, { namespace, end: "wan" });
    await configure(this.#core, [
      `addr add ${coreIp}/32 dev ${cable}`,
      `link set ${cable} up`,
      `route add ${ip}/32 dev ${cable}`,
    ]);
    await configure(namespace, [
      `addr add ${ip}/32 dev wan`,
      "link set wan up",
      ...routesToCore,
    ]);
    this.#cables.set(namespace, cable);
    await nft(this.#core, `add element inet core known { ${ip} }`);
    return { namespace, ip };
  }

  async #makeRouter(
    host: LabHost,
    { lanIp, recipe, ips }: { lanIp: string; recipe: Recipe; ips: string[] },
  ): Promise<LabRouter> {
    await configure(host.namespace, [
      "link add name lan type bridge",
      `addr add ${lanIp}/24 dev lan`,
      "link set lan up",
    ]);
    await nft(host.namespace, rulesetOf(recipe, ips));
    return { ...host, lanIp, hostCount: 0 };
  }

  async #attachToRouter(router: LabRouter, end: string): Promise<LabHost> {
    const ip = nextIp(router.lanIp, ++router.hostCount);
    const namespace = `${this.#name}${ip}`;
    await this.#addNamespace(namespace);
    const port = `port${router.hostCount}`;
    await this.#layCable({ namespace: router.namespace, end: port }, { namespace, end });
    await configure(router.namespace, [`link set ${port} master lan`, `link set ${port} up`]);
    await configure(namespace, [
      `addr add ${ip}/24 dev ${end}`,
      `link set ${end} up`,
      `route add default via ${router.lanIp}`,
    ]);
    await nft(this.#core, `add element inet core known { ${ip} }`);
    return { namespace, ip };
  }

  async #addNamespace(namespace: string): Promise<void> {
    await run(["ip", "netns", "add", namespace]);
    this.#namespaces.push(namespace);
    await configure(namespace, ["link set lo up"]);
    const switches = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
    const on = switches.map((name) => `echo 1 > /proc/sys/net/${name}`).join("; ");
    await runIn(namespace, ["sh", "-c", on]);
  }

  async #layCable(one: CableEnd, other: CableEnd): Promise<void> {
    const command = `link add name ${one.end} type veth peer name ${other.end} netns`;
    await configure(one.namespace, [`${command} ${other.namespace}`]);
  }
}

interface CableEnd {
  namespace: string;
  end: string;
}

/** Why there can be no laboratory here; null if there can. */
export async function laboratoryObstacle(): Promise<string | null> {
  if (Deno.build.os !== "linux") return "it needs Linux";
  if (Deno.uid() !== 0) return "it needs root";
  const trial = `${prefix}${Deno.pid}-trial`;
  try {
    await run(["ip", "netns", "add", trial]);
  } catch (error) {
    return `it needs network namespaces: ${messageOf(error)}`;
  }
  try {
    const recipe: Recipe = { mapping: "dependent", filtering: "address" };
    await nft(trial, rulesetOf(recipe, ["203.0.113.1"]));
    return null;
  } catch (error) {
    return `it needs nft: ${messageOf(error)}`;
  } finally {
    await removeNamespace(trial);
  }
}

/** Removes the namespaces of laboratories whose process is gone. */
export async function removeAbandonedLabs(): Promise<void> {
  const entries = await Array.fromAsync(Deno.readDir(namespaceDirectory)).catch(() => []);
  for (const { name } of entries) {
    const pid = new RegExp(`^${prefix}(\\d+)-`).exec(name)?.[1];
    const isAlive = pid === undefined ||
      await Deno.stat(`/proc/${pid}`).then(() => true, () => false);
    if (!isAlive) await removeNamespace(name);
  }
}

/** With whatever still runs in it: a namespace lives as long as its processes. */
async function removeNamespace(name: string): Promise<void> {
  const pids = (await run(["ip", "netns", "pids", name])).split("\n").filter((line) => line !== "");
  for (const pid of pids) await run(["kill", "-9", pid]).catch(() => {});
  await Deno.remove(`${replacedDirectory}/${name}`, { recursive: true }).catch(() => {});
  await run(["ip", "netns", "del", name]);
}

/** The words before a command that is to run at that host. */
export function at(host: LabHost): string[] {
  return ["ip", "netns", "exec", host.namespace];
}

async function configure(namespace: string, commands: string[]): Promise<void> {
  await run(["ip", "-n", namespace, "-batch", "-"], commands.join("\n"));
}

async function nft(namespace: string, rules: string): Promise<void> {
  await runIn(namespace, ["nft", "-f", "-"], rules);
}

/** The packets that each named counter of the namespace has seen. */
async function countersOf(namespace: string): Promise<Map<string, number>> {
  const json = await run(["ip", "netns", "exec", namespace, "nft", "-j", "list", "counters"]);
  const { nftables } = JSON.parse(json) as {
    nftables: { counter?: { name: string; packets: number } }[];
  };
  return new Map(
    nftables.flatMap(({ counter }): [string, number][] =>
      counter ? [[counter.name, counter.packets]] : []
    ),
  );
}

async function runIn(namespace: string, command: string[], input = ""): Promise<void> {
  await run(["ip", "netns", "exec", namespace, ...command], input);
}

/** Standard output. Throws what the command said if it fails. */
async function run(command: string[], input = ""): Promise<string> {
  const [executable = "", ...args] = command;
  const child = new Deno.Command(executable, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  if (success) return new TextDecoder().decode(stdout);
  throw new Error(`${command.join(" ")}: ${new TextDecoder().decode(stderr).trim()}`);
}

function nextIp(ip: string, by: number): string {
  const parts = ip.split(".");
  return [...parts.slice(0, 3), Number(parts[3]) + by].join(".");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
