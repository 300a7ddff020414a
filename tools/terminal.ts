import type { Readable, Writable } from 'node:stream';

/** Where a tool reads and writes: the process, as far as it is one. */
export interface Terminal {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable;
  readonly stderr: Writable;
}
