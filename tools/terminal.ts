import type { Readable, Writable } from 'node:stream';

/** The standard streams of a tool: `process`, or the streams of a test. */
export interface Terminal {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable;
  readonly stderr: Writable;
}
