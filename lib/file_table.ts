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

interface Content {
  digest: Uint8Array;
  length: number;
  names: Set<string>;
}

export class FileTable {
  #rows = new Map<string, FileRow>();
  #contents = new Map<string, Content>();
  #changed = new Map<string, Uint8Array>();

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
    const content = this.#contents.get(row.hex);
    if (content?.names.has(name)) return;
    if (content) content.names.add(name);
    else this.#contents.set(row.hex, newContent(name, row));
    this.#changed.set(row.hex, row.digest);
  }

  /** Returns what was there. */
  delete(name: string): FileRow | null {
    const row = this.#rows.get(name);
    if (!row) return null;
    this.#rows.delete(name);
    const content = this.#contents.get(row.hex)!;
    content.names.delete(name);
    if (content.names.size === 0) this.#contents.delete(row.hex);
    this.#changed.set(row.hex, row.digest);
    return row;
  }

  /** Where a content lies: name and row of each of its files. */
  *places(hex: string): Generator<[name: string, row: FileRow]> {
    for (const name of this.#contents.get(hex)?.names ?? []) yield [name, this.#rows.get(name)!];
  }

  has(hex: string): boolean {
    return this.#contents.has(hex);
  }

  /** Null if the content lies nowhere. */
  content(hex: string): StoredFile | null {
    const content = this.#contents.get(hex);
    return content ? storedOf(content) : null;
  }

  contents(): StoredFile[] {
    return [...this.#contents.values()].map(storedOf);
  }

  /** Everybody knows of what changed with this content. */
  dropChange(hex: string): void {
    this.#changed.delete(hex);
  }

  /** What changed since the last time. */
  takeChanges(): { announced: StoredFile[]; withdrawn: Uint8Array[] } {
    const changed = [...this.#changed];
    this.#changed.clear();
    const announced = [];
    const withdrawn = [];
    for (const [hex, digest] of changed) {
      const content = this.#contents.get(hex);
      if (content) announced.push(storedOf(content));
      else withdrawn.push(digest);
    }
    return { announced, withdrawn };
  }
}

function newContent(name: string, { digest, length }: FileRow): Content {
  return { digest, length, names: new Set([name]) };
}

function storedOf({ digest, length, names }: Content): StoredFile {
  return { digest, length, names: [...names].sort() };
}
