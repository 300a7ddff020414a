import { resolve } from 'node:path';
import { randomBytes } from 'node:crypto';
import { freePort, ServerProcess, type Reply } from './server-process';
import { until } from './until';

const ROOT = resolve(__dirname, '..');

export interface StartOptions {
  readonly env: Readonly<Record<string, string>>;
  /** The folder that functions-framework loads the function from; the project's own by default. */
  readonly source?: string;
  /** The port, by default a free one. */
  readonly port?: number;
  /**
   * `framework`, the default, runs the function as it is deployed. `development` runs the server of `npm start`, which listens
   * on the loopback interface only.
   */
  readonly server?: 'framework' | 'development';
  /** Called with each piece of output. */
  readonly onOutput?: (text: string) => void;
}

/** The function in a process of its own. */
export class FunctionProcess extends ServerProcess {
  /** Starts the function and waits until it listens. Rejects with the output if the process exits before. */
  static async start(options: StartOptions): Promise<FunctionProcess> {
    const { env, source = ROOT, port = await freePort(), server = 'framework' } = options;
    return new FunctionProcess({
      args: server === 'development' ? [resolve(ROOT, 'tools/serve.mjs')] : framework(source),
      cwd: source,
      env: { NODE_ENV: 'production', LOG_EXECUTION_ID: 'true', ...env },
      port,
      onOutput: options.onOutput,
    }).listening();
  }

  /** Returns the lines that the function writes during `act`, at least `atLeast` lines. Every line must be JSON. */
  async linesOf(act: () => Promise<unknown>, atLeast = 0): Promise<Record<string, unknown>[]> {
    const before = this.output.length;
    const lines = (): string[] => this.output.slice(before).split('\n').slice(0, -1);
    await act();
    await until(() => lines().length >= atLeast);
    // A later request shows whether there are more lines.
    const marker = randomBytes(8).toString('hex');
    await this.request({ path: 'marker', headers: { 'function-execution-id': marker } });
    await until(() => lines().some((line) => line.includes(marker)));
    return lines()
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ executionId }) => executionId !== marker);
  }

  /** Calls the function as Cloud Scheduler does. */
  async post(body?: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Reply> {
    return this.request({
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream', ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
  }
}

function framework(source: string): string[] {
  return [
    resolve(source, 'node_modules/@google-cloud/functions-framework/build/src/main.js'),
    '--target=rotate',
    `--source=${source}`,
  ];
}
