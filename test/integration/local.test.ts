/** Sends the requests that `npm run local` prints. */
import { resolve } from 'node:path';
import { freePort, ServerProcess, type Reply } from '../server-process';

class LocalProcess extends ServerProcess {
  readonly #startedAt = new Date().toISOString();

  /** Starts it, and waits until it has printed the requests. */
  static async start(): Promise<LocalProcess> {
    const { promise: printed, resolve: onPrinted } = Promise.withResolvers<undefined>();
    const started: LocalProcess = new LocalProcess({
      args: ['--import', 'tsx', 'tools/local.ts'],
      cwd: resolve(__dirname, '../..'),
      env: {},
      port: await freePort(),
      onOutput: () => {
        if (started.output.includes('log follows')) onPrinted(undefined);
      },
    });
    await started.listening();
    await printed;
    return started;
  }

  /** Sends the request that is printed below `title`. */
  send(title: string): Promise<Reply> {
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

test('npm run local prints requests that have the printed outcome', async () => {
  expect(await local.send('Show the state')).toMatchObject({
    body: { secrets: [{ renewedBy: 'refresh' }, { error: {} }, { renewedBy: 'mint' }] },
  });
  expect(await local.send('Show what a run would do')).toMatchObject({
    body: OUTCOMES('dry_run', 'failed', 'dry_run'),
  });
  expect(await local.send('As Cloud Scheduler calls it')).toMatchObject({
    status: 200,
    body: OUTCOMES('rotated'),
  });
  expect(await local.send('As Cloud Scheduler calls it')).toMatchObject({
    status: 200,
    body: OUTCOMES('already_rotated'),
  });
  expect(await local.send('Rotate')).toMatchObject({
    body: OUTCOMES('rotated', 'failed', 'rotated'),
  });
});

test('npm run local prints a request that fails with an action', async () => {
  expect(await local.send('What a failure looks like')).toMatchObject({
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
