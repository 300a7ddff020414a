/** Pastes the commands that `npm run local` prints into a shell. */
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { freePort, ServerProcess } from '../server-process';

type Line = Readonly<Record<string, unknown>>;

class LocalProcess extends ServerProcess {
  #output = Promise.withResolvers<undefined>();

  /** Starts it, and waits until it has printed the commands. */
  static async start(): Promise<LocalProcess> {
    const started: LocalProcess = new LocalProcess({
      args: ['--import', 'tsx', 'tools/local.ts'],
      cwd: resolve(__dirname, '../..'),
      env: {},
      port: await freePort(),
      onOutput: () => {
        started.#output.resolve(undefined);
        started.#output = Promise.withResolvers();
      },
    });
    await started.listening();
    await started.#until(() => (started.output.includes('log follows') ? true : undefined));
    return started;
  }

  /** Runs the commands that are printed below `title`, the last one several times, and returns its last answer. */
  async paste(title: string, times = 1): Promise<unknown> {
    const [, rest = ''] = this.output.split(`\n${title}`);
    const [, commands = ''] = /^.*\n((?: {2}.*\n)+)/.exec(rest) ?? [];
    const last = commands.trimEnd().split('\n').at(-1) ?? '';
    const script = [commands, ...Array<string>(times - 1).fill(last)].join('\necho\n');
    const { stdout } = await promisify(execFile)('sh', ['-c', script]);
    return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
  }

  /** Publishes the request that is printed below `title`, and returns the lines of the log about it. */
  async publish(title: string, count = 1): Promise<Line[]> {
    const { messageIds } = (await this.paste(title)) as { messageIds: [string] };
    return this.#until(() => {
      const written = this.output.split('\n').slice(0, -1);
      const lines = written
        .filter((line) => line.startsWith('{') && line.includes(messageIds[0]))
        .map((line) => JSON.parse(line) as Line);
      return lines.length >= count ? lines : undefined;
    });
  }

  async #until<T>(find: () => T | undefined): Promise<T> {
    for (;;) {
      const { promise } = this.#output;
      const found = find();
      if (found !== undefined) return found;
      await promise;
    }
  }
}

let local: LocalProcess;

beforeAll(async () => {
  local = await LocalProcess.start();
});

afterAll(async () => {
  // As Ctrl-C does: it takes the function with it.
  local.signal('SIGINT');
  expect(await local.exited).toBe(0);
});

const OUTCOMES = (...outcomes: string[]) => ({
  results: outcomes.map((outcome) => expect.objectContaining({ outcome }) as unknown),
});

describe('npm run local prints commands', () => {
  test('with the printed outcome', async () => {
    expect(await local.paste('Show the state')).toMatchObject({
      secrets: [{ renewedBy: 'refresh' }, { error: {} }, { renewedBy: 'mint' }],
    });
    expect(await local.paste('Show what a run would do')).toMatchObject(
      OUTCOMES('dry_run', 'failed', 'dry_run'),
    );
    expect(await local.paste('As Cloud Scheduler calls it')).toMatchObject(OUTCOMES('rotated'));
    expect(await local.paste('As Cloud Scheduler calls it', 2)).toMatchObject(
      OUTCOMES('already_rotated'),
    );
    expect(await local.paste('Rotate all secrets')).toMatchObject(
      OUTCOMES('rotated', 'failed', 'rotated'),
    );
  });

  test('with a failure and its action', async () => {
    expect(await local.paste('Let a run fail')).toMatchObject({
      results: [
        {
          outcome: 'failed',
          error: {
            code: 'KEY_NOT_REFRESHABLE',
            message: expect.stringContaining('set MANAGEMENT_KEY') as unknown,
          },
        },
      ],
    });
  });

  test('for each operator request', async () => {
    const origin = { trigger: 'operator', messageId: expect.stringMatching(/^\d+$/) as unknown };
    expect(await local.publish('Rotate now')).toMatchObject([{ outcome: 'rotated', ...origin }]);
    expect(await local.publish('Log the state', 3)).toMatchObject(
      ['old-cache-key', 'stuck-cache-key', 'cache-key'].map((name) => ({
        event: 'status',
        secret: `projects/demo/secrets/${name}`,
        ...origin,
      })),
    );
    expect(await local.publish('Log what a run')).toMatchObject([
      { outcome: 'dry_run', ...origin },
    ]);
    expect(await local.publish('Replace a leaked key')).toMatchObject([
      { outcome: 'rotated', contained: true, reason: 'INC-42', ...origin },
    ]);
  });
});
