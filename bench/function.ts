import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../test/server-process';

export const ROOT = resolve(__dirname, '..');

/** Terraform sets this for the default memory of 256 MiB. */
export const AS_DEPLOYED = { NODE_OPTIONS: '--max-semi-space-size=4 --max-old-space-size=192' };

const FRAMEWORK = resolve(ROOT, 'node_modules/@google-cloud/functions-framework/build/src/main.js');

/** A function in its own process under functions-framework, as in the cloud. */
export class FunctionProcess {
  readonly #child: ChildProcess;
  readonly #port: number;
  #errors = '';

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.#port = port;
    child.stderr?.on('data', (text: Buffer) => (this.#errors += text.toString()));
  }

  /** @param source the folder of the function */
  static async start(
    source: string,
    env: Readonly<Record<string, string>>,
  ): Promise<FunctionProcess> {
    const port = await freePort();
    const child = spawn(process.execPath, [FRAMEWORK, '--target=rotate', `--source=${source}`], {
      cwd: source,
      env: { PATH: process.env.PATH, NODE_ENV: 'production', PORT: String(port), ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    return new FunctionProcess(child, port);
  }

  /** Calls the function as soon as it listens. Throws an error unless the status is 200. */
  async post(body?: object): Promise<string> {
    for (;;) {
      try {
        const response = await post(this.#port, body);
        if (response.status === 200) return response.body;
        throw new Error(`The function returned ${response.status}: ${response.body}`);
      } catch (error) {
        const refused = error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED';
        if (!refused || this.#child.exitCode !== null) {
          throw new Error(`The function failed. ${this.#errors}`, { cause: error });
        }
        await sleep(1);
      }
    }
  }

  /** Current and peak RSS in MiB. Undefined if the system has no /proc. */
  memory(): { now: number; peak: number } | undefined {
    const status = this.#proc('status');
    if (status === undefined) return undefined;
    const mebibytes = (field: string): number =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024;
    return { now: mebibytes('VmRSS'), peak: mebibytes('VmHWM') };
  }

  /** CPU time of the main thread in ms. Undefined if the system has no /proc. */
  cpuTime(): number | undefined {
    const nanoseconds = this.#proc('schedstat')?.split(' ')[0];
    return nanoseconds === undefined ? undefined : Number(nanoseconds) / 1e6;
  }

  #proc(name: string): string | undefined {
    const file = `/proc/${this.#child.pid}/${name}`;
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  }

  async stop(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

// `fetch` fails after 5 minutes without headers. Many secrets take longer.
async function post(
  port: number,
  body: object | undefined,
): Promise<{ status: number; body: string }> {
  const call = request({ host: '127.0.0.1', port, method: 'POST' });
  call.end(body && JSON.stringify(body));
  const [response] = (await once(call, 'response')) as [
    NodeJS.ReadableStream & { statusCode: number },
  ];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(Buffer.from(chunk));
  return { status: response.statusCode, body: Buffer.concat(chunks).toString() };
}
