/**
 * What the files of a directory hashed to, in a database in its `.p2p`, so that a restart hashes only what changed.
 * The manifests of incomplete files are there too.
 *
 *     files     name → stamp (size, time and inode when it was hashed), digest
 *     contents  digest → length, chunk hashes
 *     partials  digest → the name it will have; its content is in `contents`
 *
 * It is a cache: whatever is wrong with it, it is put aside and begun afresh, and what it can't take is hashed, or
 * asked for, again. So nothing here throws, but for `open` where not even that is possible.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { exists, sizeIn, type Stamp } from "./disk.ts";
import { messageOf } from "./errors.ts";
import type { Manifest } from "./manifest.ts";

/** Of the tables below; an index of any other is not read. */
const schemaVersion = 1;

/** How many spoilt indexes are kept. */
const maxSpoiltFiles = 100;

const schema = `
  CREATE TABLE files (name TEXT PRIMARY KEY, stamp TEXT NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE contents (digest BLOB PRIMARY KEY, length INTEGER NOT NULL, hashes BLOB NOT NULL);
  CREATE TABLE partials (digest BLOB PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
  PRAGMA user_version = ${schemaVersion};
`;

/** One file, as it was when it was hashed. */
export interface IndexedFile {
  name: string;
  stamp: Stamp;
  digest: Uint8Array;
  /** The digest in hex. */
  hex: string;
  /** Bytes. */
  length: number;
}

export interface HashedFile extends Omit<IndexedFile, "hex"> {
  /** 32 bytes for each chunk. */
  hashes: Uint8Array;
}

type NamedContent = Pick<IndexedFile, "name" | "stamp" | "digest">;

export interface IndexOptions {
  /** Hears, in one line, of what the index could not do. */
  onWarning: (text: string) => void;
}

export class FileIndex {
  readonly #database: DatabaseSync;
  readonly #onWarning: (text: string) => void;
  readonly #statements = new Map<string, StatementSync>();
  #isFailing = false;

  private constructor(database: DatabaseSync, { onWarning }: IndexOptions) {
    this.#database = database;
    this.#onWarning = onWarning;
  }

  /** Opens the index at `path`, or begins one. Throws if that can't be written. */
  static open(path: string, options: IndexOptions): FileIndex {
    try {
      return new FileIndex(openDatabase(path), options);
    } catch (error) {
      if (!putAside(path)) throw error;
      options.onWarning(
        `the index of the directory is unreadable (${messageOf(error)}): files are hashed again`,
      );
      return new FileIndex(openDatabase(path), options);
    }
  }

  /** Opens the index to look at it, also while a peer uses it; null if there is none that can be read. */
  static look(path: string, options: IndexOptions): FileIndex | null {
    if (!exists(path)) return null;
    try {
      const database = new DatabaseSync(path, { readOnly: true });
      const version = numberOf(database, "PRAGMA user_version", "user_version");
      if (version === schemaVersion) return new FileIndex(database, options);
      database.close();
    } catch (error) {
      options.onWarning(`the index of the directory is unreadable (${messageOf(error)})`);
    }
    return null;
  }

  /**
   * All files that were hashed. Who restarts waits for this: to look for the content of each as well, or to have the
   * database hand out bytes, takes three times as long.
   */
  files(): IndexedFile[] {
    return this.#rows("SELECT name, stamp, lower(hex(digest)) AS hex FROM files").map((row) => {
      const [stamp, hex] = [String(row.stamp), String(row.hex)];
      const digest = Uint8Array.fromHex(hex);
      return { name: String(row.name), stamp, digest, hex, length: sizeIn(stamp) };
    });
  }

  /** Keeps what files hashed to, all or none; false if none. */
  record(files: HashedFile[]): boolean {
    return this.#atomically(() => {
      for (const { name, stamp, digest, length, hashes } of files) {
        this.#run("REPLACE INTO contents (digest, length, hashes) VALUES (?, ?, ?)", [
          digest,
          length,
          hashes,
        ]);
        this.#recordName({ name, stamp, digest });
      }
    });
  }

  /** More names of contents that are recorded. */
  recordNames(files: NamedContent[]): void {
    this.#atomically(() => {
      for (const file of files) this.#recordName(file);
    });
  }

  forget(names: string[]): void {
    this.#atomically(() => {
      for (const name of names) this.#run("DELETE FROM files WHERE name = ?", [name]);
    });
  }

  /** Length and chunk hashes of any content that is or was here; null if unknown. */
  content(digest: Uint8Array): { length: number; hashes: Uint8Array } | null {
    const row = this.#rows("SELECT length, hashes FROM contents WHERE digest = ?", [digest])[0];
    return row ? { length: Number(row.length), hashes: bytesOf(row.hashes) } : null;
  }

  /** The manifests of incomplete files. */
  partials(): Manifest[] {
    return this.#rows(
      "SELECT digest, length, name, hashes FROM partials JOIN contents USING (digest)",
    )
      .map((row) => ({
        digest: bytesOf(row.digest),
        length: Number(row.length),
        name: String(row.name),
        hashes: bytesOf(row.hashes),
      }));
  }

  addPartial({ digest, length, name, hashes }: Manifest): void {
    this.#atomically(() => {
      this.#run("REPLACE INTO contents (digest, length, hashes) VALUES (?, ?, ?)", [
        digest,
        length,
        hashes,
      ]);
      this.#run("REPLACE INTO partials (digest, name) VALUES (?, ?)", [digest, name]);
    });
  }

  removePartial(digest: Uint8Array): void {
    this.#atomically(() => this.#run("DELETE FROM partials WHERE digest = ?", [digest]));
  }

  /**
   * Drops contents that no file and no incomplete file refers to, when there are more contents than those: to look for
   * one that isn't needed takes too long for every start.
   */
  prune(): void {
    const counts = this.#rows(
      `SELECT (SELECT count(*) FROM contents) AS contents,
         (SELECT count(*) FROM files) + (SELECT count(*) FROM partials) AS users`,
    )[0];
    if (Number(counts?.contents) <= Number(counts?.users)) return;
    this.#atomically(() =>
      this.#run(
        `DELETE FROM contents WHERE digest NOT IN (SELECT digest FROM files)
         AND digest NOT IN (SELECT digest FROM partials)`,
      )
    );
  }

  close(): void {
    this.#statements.clear();
    try {
      this.#database.close();
    } catch (error) {
      this.#warn(error);
    }
  }

  #recordName({ name, stamp, digest }: NamedContent): void {
    this.#run("REPLACE INTO files (name, stamp, digest) VALUES (?, ?, ?)", [name, stamp, digest]);
  }

  #atomically(work: () => void): boolean {
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      work();
      this.#database.exec("COMMIT");
      return true;
    } catch (error) {
      this.#warn(error);
      if (this.#database.isOpen && this.#database.isTransaction) this.#rollBack();
      return false;
    }
  }

  #rollBack(): void {
    try {
      this.#database.exec("ROLLBACK");
    } catch (error) {
      this.#warn(error);
    }
  }

  #run(text: string, values: (Uint8Array | string | number)[] = []): void {
    this.#statement(text).run(...values);
  }

  #rows(text: string, values: (Uint8Array | string | number)[] = []): Record<string, unknown>[] {
    try {
      return this.#statement(text).all(...values);
    } catch (error) {
      this.#warn(error);
      return [];
    }
  }

  #statement(text: string): StatementSync {
    const known = this.#statements.get(text);
    if (known) return known;
    const statement = this.#database.prepare(text);
    this.#statements.set(text, statement);
    return statement;
  }

  /** Once: the next file would say the same. */
  #warn(error: unknown): void {
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.#onWarning(
      `the index of the directory fails (${messageOf(error)}): the next start hashes files again`,
    );
  }
}

function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path);
  try {
    // A last transaction that a power cut takes away costs some hashing, no more.
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    const version = numberOf(database, "PRAGMA user_version", "user_version");
    if (version === 0) database.exec(`BEGIN; ${schema}; COMMIT`);
    else if (version !== schemaVersion) throw new Error(`it has version ${version}`);
    checkIntegrity(database);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function checkIntegrity(database: DatabaseSync): void {
  const verdict = database.prepare("PRAGMA quick_check(1)").get()?.quick_check;
  if (verdict !== "ok") throw new Error("it is damaged");
}

function numberOf(database: DatabaseSync, query: string, column: string): number {
  return Number(database.prepare(query).get()?.[column]);
}

/** Renames a spoilt index, journal and all, out of the way. False if there is none, or it won't move. */
function putAside(path: string): boolean {
  for (let number = 1; number <= maxSpoiltFiles; number++) {
    const aside = `${path}.spoilt-${number}`;
    if (exists(aside)) continue;
    try {
      Deno.renameSync(path, aside);
      for (const suffix of ["-wal", "-shm", "-journal"]) {
        if (exists(path + suffix)) Deno.renameSync(path + suffix, aside + suffix);
      }
      return true;
    } catch {
      return false;
    }
  }
  return false;
}

function bytesOf(value: unknown): Uint8Array {
  return value instanceof Uint8Array ? value : new Uint8Array(0);
}
