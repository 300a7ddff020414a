import { resolve } from 'node:path';
import { freePort, ServerProcess } from './server-process';

const EXAMPLE = resolve(__dirname, '../examples/application');

/** The example of an application in its own process, as it is deployed. */
export class ApplicationProcess extends ServerProcess {
  /** Starts the application and waits until it listens. Rejects with the output if the process exits before. */
  static async start(
    env: Readonly<Record<string, string>>,
    onOutput?: (text: string) => void,
  ): Promise<ApplicationProcess> {
    const port = await freePort();
    const args = ['server.ts'];
    return new ApplicationProcess({ args, cwd: EXAMPLE, env, port, onOutput }).listening();
  }
}
