/**
 * The real disk with a fuse: at the n-th operation that changes something it stops, and nothing works from then on, as
 * for a process that was killed. It keeps a trace of what was done.
 */
import { denoDisk, type Disk, type DiskFile } from "../lib/disk.ts";

export class Killed extends Error {
  override readonly name = "Killed";
  constructor() {
    super("killed");
  }
}

export interface FaultyDiskOptions {
  /** At which operation, counted from 1, it stops. */
  stopAt?: number;
  /** Whether that operation still takes place. A write is half done either way. */
  afterwards?: boolean;
  /** Throws where an operation shall fail without the disk stopping. */
  refuse?: (operation: string) => void;
}

export interface FaultyDisk extends Disk {
  /** `operation path`, of what changed something. */
  readonly trace: string[];
  /** Whether it has stopped. */
  isDead(): boolean;
}

export function faultyDisk(options: FaultyDiskOptions = {}): FaultyDisk {
  const trace: string[] = [];
  let isDead = false;

  function alive(): void {
    if (isDead) throw new Killed();
  }

  /** Runs an operation that changes something. */
  function change<T>(operation: string, work: () => T, half: () => void = () => {}): T {
    alive();
    options.refuse?.(operation);
    trace.push(operation);
    if (trace.length !== options.stopAt) return work();
    isDead = true;
    if (options.afterwards) work();
    else half();
    throw new Killed();
  }

  function wrap(file: DiskFile, path: string): DiskFile {
    return {
      state: () => (alive(), file.state()),
      read: (into, offset) => (alive(), file.read(into, offset)),
      readNext: (into) => Promise.try(() => (alive(), file.readNext(into))),
      write: (bytes, offset) => {
        const half = bytes.subarray(0, bytes.length >>> 1);
        change(`write ${path}`, () => file.write(bytes, offset), () => file.write(half, offset));
      },
      syncNow: () => change(`sync ${path}`, () => file.syncNow()),
      sync: () => Promise.try(() => change(`sync ${path}`, () => file.sync())),
      close: () => file.close(),
    };
  }

  return {
    trace,
    isDead: () => isDead,
    state: (path) => (alive(), denoDisk.state(path)),
    list: (path) => (alive(), denoDisk.list(path)),
    open: (path) => (alive(), wrap(denoDisk.open(path), path)),
    reopen: (path) => (alive(), wrap(denoDisk.reopen(path), path)),
    create: (path) => change(`create ${path}`, () => wrap(denoDisk.create(path), path)),
    makeDirectory: (path, mode) =>
      change(`makeDirectory ${path}`, () => denoDisk.makeDirectory(path, mode)),
    rename: (from, to) => change(`rename ${from} ${to}`, () => denoDisk.rename(from, to)),
    link: (from, to) => change(`link ${from} ${to}`, () => denoDisk.link(from, to)),
    remove: (path) => change(`remove ${path}`, () => denoDisk.remove(path)),
    syncDirectory: (path) =>
      Promise.try(() => change(`syncDirectory ${path}`, () => denoDisk.syncDirectory(path))),
  };
}
