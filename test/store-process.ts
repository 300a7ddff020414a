import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

const ROOT = resolve(__dirname, '..');

/** What an access gave: the kind of its answer, or the parts of its error. */
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
  /** Everything that it has written, apart from results. */
  output = '';
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #lines: AsyncIterator<string>;

  constructor(env: Readonly<Record<string, string>>) {
    this.#child = spawn(
      process.execPath,
      ['--import', 'tsx', resolve(__dirname, 'store-child.ts')],
      {
        cwd: ROOT,
        env: { PATH: process.env.PATH, ...env },
        stdio: ['pipe', 'pipe', 'pipe'],
      },
    );
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
