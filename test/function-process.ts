import { resolve } from 'node:path';
import { freePort, ServerProcess, type Reply } from './server-process';

const ROOT = resolve(__dirname, '..');

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
export class FunctionProcess extends ServerProcess {
  /** Starts the function and waits until it listens; rejects with what it printed if it exits before. */
  static async start(options: StartOptions): Promise<FunctionProcess> {
    const { env, source = ROOT, port = await freePort(), onOutput } = options;
    return new FunctionProcess({
      args: [
        resolve(source, 'node_modules/@google-cloud/functions-framework/build/src/main.js'),
        '--target=rotate',
        `--source=${source}`,
      ],
      cwd: source,
      env: { NODE_ENV: 'production', LOG_EXECUTION_ID: 'true', ...env },
      port,
      onOutput,
    }).listening();
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
