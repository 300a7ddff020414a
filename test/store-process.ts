import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { buildSync } from 'esbuild';

const ROOT = resolve(__dirname, '..');
/** A folder for each Jest worker, inside the project so that Node.js finds packages. */
const FOLDER = resolve(ROOT, `node_modules/.cache/store-child-${process.pid}`);
const SCRIPT = resolve(FOLDER, 'store-child.cjs');

// The script is compiled once, because a process that compiles it takes twice as long to start.
beforeAll(() => {
  buildSync({
    entryPoints: [resolve(__dirname, 'store-child.ts')],
    outfile: SCRIPT,
    bundle: true,
    packages: 'external',
    platform: 'node',
  });
});
afterAll(() => rmSync(FOLDER, { recursive: true, force: true }));

/** The result of an access: the kind of its answer, or the parts of its error. */
export interface Result {
  readonly kind?: string;
  readonly code?: string;
  readonly problem?: string;
  readonly action?: string;
  readonly retryable?: boolean;
  readonly outcomeUnknown?: boolean;
}

/** The client of Secret Manager in a process of its own, with this environment and no other. */
export class StoreProcess {
  /** The output of the process, without results. */
  output = '';
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #lines: AsyncIterator<string>;

  constructor(env: Readonly<Record<string, string>>) {
    this.#child = spawn(process.execPath, [SCRIPT], {
      cwd: ROOT,
      env: { PATH: process.env.PATH, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Accesses the latest versions of these secrets together. */
  async access(...secrets: readonly string[]): Promise<Result[]> {
    this.#child.stdin.write(`${JSON.stringify(secrets)}\n`);
    for (;;) {
      const line = await this.#lines.next();
      if (line.done === true) throw new Error(`the process ended: ${this.output}`);
      if (line.value.startsWith('[')) return JSON.parse(line.value) as Result[];
      this.output += `${line.value}\n`;
    }
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
