/** What `npm run local` tells a newcomer to try is tried. */
import { resolve } from 'node:path';
import { freePort, ServerProcess, type Reply } from '../server-process';

class LocalWorldProcess extends ServerProcess {
  readonly #startedAt = new Date().toISOString();

  /** Starts it, and waits until it has told what to try. */
  static async start(): Promise<LocalWorldProcess> {
    const { promise: told, resolve: tell } = Promise.withResolvers<undefined>();
    const world: LocalWorldProcess = new LocalWorldProcess({
      args: ['--import', 'tsx', 'tools/local.ts'],
      cwd: resolve(__dirname, '../..'),
      env: {},
      port: await freePort(),
      onOutput: () => {
        if (world.output.includes('log follows')) tell(undefined);
      },
    });
    await world.listening();
    await told;
    return world;
  }

  /** Sends what the line does that is printed below `title`. */
  tries(title: string): Promise<Reply> {
    const [, call = ''] = this.output.split(`\n${title}`);
    const [line = ''] = /^ {2}curl .*$/m.exec(call) ?? [];
    const [, body] = /-d '(.*)'/.exec(line) ?? [];
    return this.request({
      method: line.includes('-X POST') ? 'POST' : 'GET',
      ...(line.includes('$AT') && {
        headers: { 'X-CloudScheduler-ScheduleTime': this.#startedAt },
      }),
      ...(body !== undefined && { body }),
    });
  }
}

let local: LocalWorldProcess;

beforeAll(async () => {
  local = await LocalWorldProcess.start();
});

afterAll(async () => {
  // As Ctrl-C does: it takes the function with it.
  local.signal('SIGINT');
  expect(await local.exited).toBe(0);
});

const OUTCOMES = (...outcomes: string[]) => ({
  results: outcomes.map((outcome) => expect.objectContaining({ outcome }) as unknown),
});

test('the lines do what is said above them', async () => {
  expect(await local.tries('Show the state')).toMatchObject({
    body: { secrets: [{ renewedBy: 'refresh' }, { error: {} }, { renewedBy: 'mint' }] },
  });
  expect(await local.tries('Show what a run would do')).toMatchObject({
    body: OUTCOMES('dry_run', 'failed', 'dry_run'),
  });
  expect(await local.tries('As Cloud Scheduler calls it')).toMatchObject({
    status: 200,
    body: OUTCOMES('rotated'),
  });
  expect(await local.tries('As Cloud Scheduler calls it')).toMatchObject({
    status: 200,
    body: OUTCOMES('already_rotated'),
  });
  expect(await local.tries('Rotate')).toMatchObject({
    body: OUTCOMES('rotated', 'failed', 'rotated'),
  });
});

test('one of them fails, and says what to do', async () => {
  expect(await local.tries('What a failure looks like')).toMatchObject({
    status: 422,
    body: {
      results: [
        {
          outcome: 'failed',
          error: {
            code: 'KEY_NOT_REFRESHABLE',
            message: expect.stringContaining('set MANAGEMENT_KEY') as unknown,
          },
        },
      ],
    },
  });
});
