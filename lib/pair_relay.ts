/**
 * The relay between one introduced pair, as one side sees it: whether it has been asked for, and where it is. Either
 * side may ask, and both are told.
 */
import { isLoopback, isSendable, sameAddress, type SocketAddress } from "./address.ts";
import type { RelayAddress } from "./ports.ts";

export interface PairRelayOptions {
  /** Whether one can be used here. */
  isUsable: boolean;
  /** Whether it may be at a loopback address. */
  allowLoopback: boolean;
}

export class PairRelay {
  readonly #options: PairRelayOptions;
  #request: "none" | "asked" | "settled" = "none";
  #address: RelayAddress | null = null;
  #refusal: string | null = null;

  constructor(options: PairRelayOptions) {
    this.#options = options;
  }

  /** One connection of each side makes one of both there, where one of the two has no UDP. */
  get isTcp(): boolean {
    return this.#address?.transport === "tcp";
  }

  /** Whether it is to be asked for, once: nobody has been told of one yet. */
  ask(): boolean {
    if (this.#request !== "none") return false;
    this.#request = "asked";
    return true;
  }

  /** Whether this is the relay from here on: there is one only, and not just anywhere. */
  take(address: RelayAddress): boolean {
    const { isUsable, allowLoopback } = this.#options;
    if (!isUsable || this.#address || !isSendable(address)) return false;
    if (isLoopback(address.ip) && !allowLoopback) return false;
    this.#request = "settled";
    this.#address = address;
    return true;
  }

  refuse(reason: string): void {
    this.#request = "settled";
    this.#refusal = reason;
  }

  isAt(address: SocketAddress): boolean {
    return this.#address !== null && sameAddress(this.#address, address);
  }

  isOn(ip: string): boolean {
    return this.#address?.ip === ip;
  }

  /** Why there is no path through it, as far as it has to do with the tracker. */
  reasons(): string[] {
    if (this.#request === "asked") return ["relay: the tracker has not answered"];
    return this.#refusal === null ? [] : [`relay: ${this.#refusal}`];
  }
}
