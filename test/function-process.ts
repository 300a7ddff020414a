import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, connect, type AddressInfo } from 'node:net';
import { resolve } from 'node:path';

const ROOT = resolve(__dirname, '..');

export interface Reply {
  readonly status: number;
  readonly body: unknown;
}

export interface StartOptions {
  readonly env: Readonly<Record<string, string>>;
  /** The folder that functions-framework loads the function from; the project's own by default. */
  readonly source?: string;
  /** A free one by default. */
  readonly port?: number;
  /** Called with what the function writes, as it writes it. */
  readonly onOutput?: (text: string) => void;
}

/** The function in its own process under functions-framework, as it is deployed. */
export class FunctionProcess {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | string>;
  #output = '';

  private constructor(child: ChildProcess, port: number, onOutput?: (text: string) => void) {
    this.#child = child;
    this.url = `http://127.0.0.1:${port}/`;
    this.#exited = once(child, 'exit').then(
      ([code, signal]) => (code ?? signal) as number | string,
    );
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
        onOutput?.(text);
      });
    }
  }

  /** Starts the function and waits until it listens; rejects with what it printed if it exits before. */
  static async start(options: StartOptions): Promise<FunctionProcess> {
    const { env, source = ROOT, port = await freePort(), onOutput } = options;
    const child = spawn(
      process.execPath,
      [
        resolve(source, 'node_modules/@google-cloud/functions-framework/build/src/main.js'),
        '--target=rotate',
        `--source=${source}`,
      ],
      {
        cwd: source,
        env: {
          PATH: process.env.PATH,
          PORT: String(port),
          NODE_ENV: 'production',
          LOG_EXECUTION_ID: 'true',
          ...env,
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    const started = new FunctionProcess(child, port, onOutput);
    const exited = started.#exited.then((code) => {
      throw new Error(`the function exited with ${code}: ${started.output}`);
    });
    await Promise.race([accepting(port, () => child.exitCode === null), exited]);
    return started;
  }

  /** Everything that it has written to standard output and standard error. */
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

  /** Calls the function as Cloud Scheduler does. */
  async post(body?: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Reply> {
    return this.request({
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream', ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
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

  /** The exit code, or the signal that ended it. */
  get exited(): Promise<number | string> {
    return this.#exited;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

/** A port that nothing listens at. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Resolves when something accepts connections at the port: in production the framework says nothing of it. */
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
