/**
 * `node:crypto`, loaded when it is first used: to load it, and what it needs of Node, takes as long as all the rest of a
 * short command that hashes and signs nothing. For pure functions of given bytes alone.
 */
type NodeCrypto = Pick<
  typeof import("node:crypto"),
  "createHash" | "createPrivateKey" | "createPublicKey" | "hash" | "sign" | "verify"
>;

let loaded: NodeCrypto | null = null;

export function nodeCrypto(): NodeCrypto {
  return loaded ??= globalThis.process.getBuiltinModule("node:crypto");
}
