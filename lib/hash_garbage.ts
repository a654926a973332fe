/**
 * What hashing leaves behind.
 *
 * Each hash is an object of the runtime whose memory V8 doesn't count, and that only a full collection frees: after
 * 4 GiB a thread would hold 30 MiB of them. A buffer is counted as soon as it is made, and takes no memory until it is
 * touched: one as large as this makes V8 collect, which takes a millisecond where little else lies on the heap.
 */

/** Hashed between two collections. */
const bytesPerCollection = 512 * 1024 * 1024;

/** More than V8 lets pile up outside of its heap before it collects. */
const countedBytes = 96 * 1024 * 1024;

let hashedBytes = 0;

/** So many bytes more were hashed here, block by block. */
export function noteHashed(bytes: number): void {
  hashedBytes += bytes;
  if (hashedBytes < bytesPerCollection) return;
  hashedBytes = 0;
  try {
    new ArrayBuffer(countedBytes);
  } catch {
    // Where no such buffer can be had V8 collects for that reason.
  }
}
