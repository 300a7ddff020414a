import { spawn, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer, connect, type AddressInfo } from 'node:net';

export interface Reply {
  readonly status: number;
  readonly body: unknown;
}

export interface Program {
  /** The arguments of Node.js. */
  readonly args: readonly string[];
  readonly cwd: string;
  /** The environment without `PATH` and `PORT`, which the class sets. */
  readonly env: Readonly<Record<string, string>>;
  readonly port: number;
  /** Called with each piece of output. */
  readonly onOutput?: ((text: string) => void) | undefined;
}

/** A server of this project in a process of its own, as it is deployed. */
export class ServerProcess {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #port: number;
  readonly #exited: Promise<number | string>;
  #output = '';

  protected constructor({ args, cwd, env, port, onOutput }: Program) {
    this.url = `http://127.0.0.1:${port}/`;
    this.#port = port;
    this.#child = spawn(process.execPath, args, {
      cwd,
      env: { PATH: process.env.PATH, PORT: String(port), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exited = once(this.#child, 'exit').then(
      ([code, signal]) => (code ?? signal) as number | string,
    );
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
        onOutput?.(text);
      });
    }
  }

  /** Everything that the process has written to standard output and standard error. */
  get output(): string {
    return this.#output;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The structured lines among the output. */
  get logEntries(): Record<string, unknown>[] {
    return this.#output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async request(init: RequestInit & { path?: string } = {}): Promise<Reply> {
    const response = await fetch(new URL(init.path ?? '', this.url), init);
    const text = await response.text();
    try {
      return { status: response.status, body: JSON.parse(text) };
    } catch {
      return { status: response.status, body: text };
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The exit code, or the signal that ended the process. */
  get exited(): Promise<number | string> {
    return this.#exited;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** Resolves when the server listens. Rejects with the output if the process exits before. */
  protected async listening(): Promise<this> {
    const exited = this.#exited.then((code) => {
      throw new Error(`the process exited with ${code}: ${this.output}`);
    });
    await Promise.race([accepting(this.#port, () => this.#child.exitCode === null), exited]);
    return this;
  }
}

/**
 * A free port below the range from which the operating system assigns ports. Otherwise the operating system could assign the
 * port to another server before the process starts.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer().listen(randomInt(10_240, 32_768), '127.0.0.1');
    try {
      await once(server, 'listening');
    } catch {
      continue;
    }
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** Resolves when the port accepts connections. In production the framework doesn't log this. */
async function accepting(port: number, isWanted: () => boolean): Promise<void> {
  while (isWanted()) {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch {
      await new Promise((next) => setTimeout(next, 5));
    } finally {
      socket.destroy();
    }
  }
}
