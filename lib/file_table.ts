/**
 * The complete files of a directory: which content lies under which name. Contents that gained or lost a name are
 * remembered until `takeChanges`.
 */
import type { StoredFile } from "./store.ts";

export interface FileRow {
  digest: Uint8Array;
  /** The digest in hex. */
  hex: string;
  /** Bytes. */
  length: number;
  /** What the file looked like when it was hashed. */
  stamp: string;
}

/** Nearly every content has one name, and a set of its own for each would be most of the memory. */
type Names = string | Set<string>;

export class FileTable {
  #rows = new Map<string, FileRow>();
  /** By digest in hex. */
  #names = new Map<string, Names>();
  #changed = new Set<string>();

  /** How many names there are. */
  get size(): number {
    return this.#rows.size;
  }

  get(name: string): FileRow | undefined {
    return this.#rows.get(name);
  }

  names(): string[] {
    return [...this.#rows.keys()];
  }

  /** The names inside a directory, however deep. */
  namesIn(directory: string): string[] {
    return this.names().filter((name) => name.startsWith(`${directory}/`));
  }

  set(name: string, row: FileRow): void {
    const before = this.#rows.get(name);
    if (before && before.hex !== row.hex) this.delete(name);
    this.#rows.set(name, row);
    if (before?.hex === row.hex) return;
    this.#names.set(row.hex, withName(this.#names.get(row.hex), name));
    this.#changed.add(row.hex);
  }

  /** Returns what was there. */
  delete(name: string): FileRow | null {
    const row = this.#rows.get(name);
    if (!row) return null;
    this.#rows.delete(name);
    const names = this.#names.get(row.hex);
    if (names instanceof Set) names.delete(name);
    if (names === name || names instanceof Set && names.size === 0) this.#names.delete(row.hex);
    this.#changed.add(row.hex);
    return row;
  }

  /** Where a content lies: name and row of each of its files. */
  *places(hex: string): Generator<[name: string, row: FileRow]> {
    for (const name of each(this.#names.get(hex))) yield [name, this.#rows.get(name)!];
  }

  has(hex: string): boolean {
    return this.#names.has(hex);
  }

  /** Null if the content lies nowhere. */
  content(hex: string): StoredFile | null {
    const names = this.#names.get(hex);
    return names === undefined ? null : this.#stored(names);
  }

  contents(): StoredFile[] {
    return Array.from(this.#names.values(), (names) => this.#stored(names));
  }

  /** Everybody knows of what changed with this content. */
  dropChange(hex: string): void {
    this.#changed.delete(hex);
  }

  /** Everybody knows of all that there is. */
  dropChanges(): void {
    this.#changed.clear();
  }

  /** What changed since the last time. */
  takeChanges(): { announced: StoredFile[]; withdrawn: Uint8Array[] } {
    const changed = [...this.#changed];
    this.#changed.clear();
    const announced = [];
    const withdrawn = [];
    for (const hex of changed) {
      const content = this.content(hex);
      if (content) announced.push(content);
      else withdrawn.push(Uint8Array.fromHex(hex));
    }
    return { announced, withdrawn };
  }

  #stored(under: Names): StoredFile {
    const names = [...each(under)].sort();
    const { digest, length } = this.#rows.get(names[0]!)!;
    return { digest, length, names };
  }
}

function withName(names: Names | undefined, name: string): Names {
  if (names === undefined) return name;
  if (typeof names === "string") return new Set([names, name]);
  return names.add(name);
}

function each(names: Names | undefined): Iterable<string> {
  return typeof names === "string" ? [names] : names ?? [];
}
