/**
 * The part of @redis/client 5.5.6 that the tracker's store uses. Its own declarations bring the types of Node with
 * them, which would take the place of Deno's in the whole program.
 */
import type { Buffer } from "node:buffer";

export interface RedisClientOptions {
  url: string;
  /** Without a connection a command fails at once. */
  disableOfflineQueue: boolean;
  socket: { connectTimeout: number; reconnectStrategy(retries: number): number };
}

export interface RedisClient {
  readonly isReady: boolean;
  connect(): Promise<unknown>;
  /** Ends the connection; what waits on it fails. */
  destroy(): void;
  on(event: "error", listener: (error: Error) => void): unknown;
  sendCommand(args: readonly (string | Buffer)[]): Promise<unknown>;
  /** Comes back with the connection. */
  subscribe(channel: string, listener: (bytes: Buffer) => void, bufferMode: true): Promise<void>;
}

export declare function createClient(options: RedisClientOptions): RedisClient;
