/** The command for operators, from its arguments through Pub/Sub, the function and Cloud Logging to its exit code. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Fault } from '../../emulators/faults';
import { LoggingEmulator } from '../../emulators/logging';
import { DAY, HOUR, MINUTE, SECOND } from '../../src/duration';
import type { Secret } from '../../src/rotation/ports';
import { sendRequest } from '../../tools/request/run';
import { leaks } from '../leaks';
import { PushBed, TOPIC } from './push-bed';
import { NOT_DUE, parseFault, TERMS, TestBed, type Setup } from './test-bed';
import { runTool, Sink, type Ended } from './tool';

const TOKEN = 'ya29.c0ASRK0GbTheTokenOfTheOperator';
const ARGS = ['--project=p', '--topic=rotator-requests'];

let bed: TestBed;
let logging: LoggingEmulator;
let push: PushBed;
let folder: string;
let outputs: string[] = [];

beforeAll(async () => {
  bed = await TestBed.start();
  folder = mkdtempSync(join(tmpdir(), 'gcloud-'));
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await bed.stop();
});
beforeEach(async () => {
  logging = await LoggingEmulator.start(bed.clock);
  login(`echo ${TOKEN}`);
});
afterEach(async () => {
  expect(leaks([...bed.secrets, TOKEN], outputs)).toEqual([]);
  outputs = [];
  await push.stop();
  await logging.stop();
  bed.expectSafe();
  bed.reset();
});

/** Sets what gcloud does when it is asked for an access token. */
function login(script: string): void {
  const file = join(folder, 'gcloud');
  const expected = 'auth print-access-token --quiet';
  writeFileSync(file, `#!/bin/sh\n[ "$*" = "${expected}" ] || exit 64\n${script}\n`);
  chmodSync(file, 0o700);
}

/** Starts the function for the secrets, with its log in Cloud Logging. */
async function start(
  secrets: readonly Secret[],
  { onLine, ...setup }: Setup & { onLine?: () => void } = {},
): Promise<void> {
  // The seeded versions are older than the messages.
  bed.clock.advance(SECOND);
  push = await PushBed.start(bed, secrets, {
    ...setup,
    onLine: (line) => {
      logging.write(line);
      onLine?.();
    },
  });
}

async function run(args: readonly string[], signal = new AbortController().signal): Promise<Ended> {
  const [stdout, stderr] = [new Sink(), new Sink()];
  const code = await sendRequest(
    args,
    { PATH: `${folder}:${process.env.PATH ?? ''}` },
    { stdout, stderr },
    {
      signal,
      clock: bed.clock,
      hosts: { pubsub: `http://${push.pubsub.host}`, logging: `http://${logging.host}` },
    },
  );
  outputs.push(stdout.text, stderr.text);
  return { code, stdout: stdout.text, stderr: stderr.text };
}

/** A secret whose keys are minted, with a superseded version. */
async function mintedSecret(setup: Setup): Promise<Secret> {
  const secret = bed.emptySecret(TERMS);
  await bed.rotate(secret, setup);
  bed.clock.advance(HOUR);
  await bed.rotate(secret, { ...setup, policy: { gracePeriodMs: 30 * DAY } });
  bed.watch(secret);
  return secret;
}

/** The cells of the first table, by the titles of their columns. */
function cells(output: string): Record<string, string>[] {
  const [titles = [], ...rows] = (output.split('\n\n')[0] ?? '')
    .trim()
    .split('\n')
    .map((line) => line.split(/ {2,}/));
  return rows.map((row) => Object.fromEntries(titles.map((title, n) => [title, row[n] ?? ''])));
}

const lastMessage = (): string => push.pubsub.messagesOf(TOPIC).at(-1) ?? '';
const watchCommand = (): string => `npm run request -- watch ${lastMessage()} --project=p`;
const reads = (): number => logging.faults.calls.length;

describe('a request', () => {
  test('rotates one secret that is not due, and shows the result', async () => {
    const [{ secret }, { secret: other }] = [bed.seed(), bed.seed()];
    await start([secret, other], { policy: NOT_DUE });
    const { code, stdout, stderr } = await run([
      'rotate',
      ...ARGS,
      `--secret=${secret.id}`,
      '--reason=INC-42',
    ]);
    expect(code).toBe(0);
    expect(cells(stdout)).toMatchObject([
      { SECRET: secret.name, OUTCOME: 'rotated', VERSION: '2', REASON: 'forced' },
    ]);
    expect(stderr).toBe(
      `Published message ${lastMessage()}. To see its result later: ${watchCommand()}\n`,
    );
    expect(push.entries).toMatchObject([{ reason: 'INC-42', secret: secret.name }]);
    for (const { faults } of [push.pubsub, logging]) {
      const { headers } = faults.calls[0]?.request as { headers: Record<string, string[]> };
      expect(headers.authorization).toEqual([`Bearer ${TOKEN}`]);
    }
  });

  test('shows what a run would do', async () => {
    const { secret } = bed.seed();
    await start([secret]);
    const { code, stdout } = await run(['dry-run', ...ARGS]);
    expect([code, cells(stdout)]).toMatchObject([0, [{ OUTCOME: 'dry_run', VERSION: '1' }]]);
    expect(bed.states(secret)).toEqual(['ENABLED']);
  });

  test('shows the state of each secret', async () => {
    const [{ secret }, { secret: other }] = [bed.seed(), bed.seed()];
    await start([secret, other]);
    const { code, stdout } = await run(['status', ...ARGS]);
    expect(code).toBe(0);
    expect(cells(stdout)).toMatchObject(
      [secret, other].map(({ name }) => ({
        SECRET: name,
        VERSION: '1',
        STATE: 'ENABLED',
        'RENEWED BY': 'refresh',
        'NEXT RENEWAL': 'every run',
      })),
    );
  });

  test('replaces a leaked key, and shows when Momento rejected the old ones', async () => {
    const setup = { managementKey: bed.managementKey() };
    const secret = await mintedSecret(setup);
    const old = bed.liveKeys(secret);
    await start([secret], setup);
    const args = ['compromised', ...ARGS, `--secret=${secret.id}`, '--reason=INC-42'];
    const { code, stdout } = await run(args);
    expect(code).toBe(0);
    expect(cells(stdout)).toMatchObject([
      { OUTCOME: 'rotated', CONTAINED: 'yes', VERSION: '3', DISABLED: '1,2' },
    ]);
    const [, keys = ''] = stdout.split('\n\n');
    expect(old).toHaveLength(2);
    for (const key of old) expect(keys).toMatch(new RegExp(`^${key} +\\d{4}-\\S+Z$`, 'm'));
  });
});

describe('the result', () => {
  test('is the last one when Pub/Sub delivers the request again', async () => {
    const { secret } = bed.seed();
    await start([secret], {
      onLine: () => {
        if (push.entries.length === 2) bed.endFaults();
      },
    });
    bed.inject('RefreshApiToken', 'every', 'UNAVAILABLE before');
    const { code, stdout, stderr } = await run(['rotate', ...ARGS]);
    expect(push.entries.map(({ outcome }) => outcome)).toEqual(['failed', 'failed', 'rotated']);
    expect([code, cells(stdout)]).toMatchObject([0, [{ OUTCOME: 'rotated' }]]);
    expect(
      stderr.match(/^MOMENTO_UNAVAILABLE: .*\nPub\/Sub delivers the request again\.$/gm),
    ).toHaveLength(2);
  });

  test('is a failure when another delivery cannot help', async () => {
    const secret = bed.seedV2({}, { withRefreshToken: false });
    await start([secret]);
    const { code, stdout } = await run(['rotate', ...ARGS]);
    expect([code, cells(stdout)]).toMatchObject([1, [{ OUTCOME: 'failed' }]]);
    expect(stdout).toMatch(
      /^KEY_NOT_REFRESHABLE: \S+: .* See docs\/operate\/error-codes\.md#key-not-refreshable\.$/m,
    );
  });

  test('is a failure when an old key can still be used', async () => {
    const { secret } = bed.seed();
    await start([secret]);
    const { code, stdout } = await run(['compromised', ...ARGS, `--secret=${secret.id}`]);
    expect([code, cells(stdout)]).toMatchObject([1, [{ OUTCOME: 'incomplete', CONTAINED: 'NO' }]]);
    expect(stdout).toMatch(/^OLD KEY +REJECTED +EXPIRES +NOT REVOKED\n[0-9a-f]{8} +no +20\S+Z +/m);
    expect(stdout).toContain('NOT_CONTAINED: ');
  });

  test.each([
    ['a secret is not configured', ['rotate', '--secret=other'], 'SECRET_NOT_CONFIGURED'],
    ['fields contradict each other', ['rotate', '--all'], 'INVALID_REQUEST'],
    ['no secret is named as compromised', ['compromised'], 'INVALID_REQUEST'],
  ])('is a failure when %s', async (_, args, code) => {
    await start([bed.seed().secret]);
    const ended = await run([...args, ...ARGS]);
    expect(ended).toMatchObject({ code: 1, stdout: expect.stringContaining(code) as unknown });
    expect(push.entries).toHaveLength(1);
  });

  test('has no control characters, which other writers of the log could send to the terminal', async () => {
    await start([]);
    const messageId = '4711';
    logging.write({ severity: 'INFO', event: 'rotation', messageId, secret: 'a\x1b[2J\nb' });
    const { stdout } = await run(['watch', messageId, '--project=p']);
    expect(stdout).toContain('a [2J b\n');
  });
});

describe('waiting', () => {
  test('survives a late log, empty pages, lost answers and refused reads', async () => {
    const { secret } = bed.seed();
    await start([secret]);
    logging.delayMs = MINUTE;
    logging.emptyPages = 3;
    const faults: Fault[] = [
      { kind: 'status', status: 503, when: 'before' },
      { kind: 'status', status: 429, when: 'before' },
      { kind: 'drop', when: 'after' },
      { kind: 'half' },
      { kind: 'not-json' },
      { kind: 'hang', when: 'before' },
    ];
    faults.forEach((fault, n) => logging.faults.inject('ListEntries', n + 2, fault));
    const { code, stdout } = await run(['rotate', ...ARGS]);
    expect([code, cells(stdout)]).toMatchObject([0, [{ OUTCOME: 'rotated' }]]);
    expect(reads()).toBeGreaterThan(faults.length);
  });

  test('reads all pages', async () => {
    await start([]);
    const line = { severity: 'INFO', event: 'rotation', messageId: '4711', requestedSecrets: 1001 };
    for (let n = 0; n < 1001; n += 1) logging.write({ ...line, secret: `s${n}`, outcome: 'x' });
    const { stdout } = await run(['watch', '4711', '--project=p']);
    expect(cells(stdout)).toHaveLength(1001);
    expect(reads()).toBe(2);
  });

  test('ends after 15 minutes without a result, and stays far below the quota of reads', async () => {
    await start([]);
    push.pubsub.createTopic('projects/p/topics/unused');
    const startedAt = bed.clock.now();
    const ended = await run(['rotate', '--project=p', '--topic=unused']);
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toContain('The waiting time is over, and the log has no final result.');
    expect(ended.stderr).toContain('docs/operate/runbook.md#no-run-happens');
    expect(bed.clock.now() - startedAt).toBeLessThan(15 * MINUTE + 11 * SECOND);
    expect(reads()).toBeLessThan(100);
  });

  test('ends with the results so far while every delivery fails', async () => {
    const [{ secret, key }, { secret: other }] = [bed.seed(), bed.seed()];
    await start([secret, other]);
    bed.momento.faults.intercept = ({ request }) =>
      JSON.stringify(request).includes(key.refreshToken)
        ? parseFault('UNAVAILABLE before')
        : undefined;
    const { code, stdout, stderr } = await run(['rotate', ...ARGS, '--wait=5m']);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(new RegExp(`^${secret.name} +failed +1 `, 'm'));
    expect(stderr).toMatch(new RegExp(`^${other.name} +already_rotated +2 `, 'm'));
    expect(stderr).toContain('The waiting time is over, and the log has no final result.');
    expect(stderr).toContain(`Then see the result: ${watchCommand()}`);
  });

  test('can go on in another process after an interruption', async () => {
    const { secret } = bed.seed();
    await start([secret]);
    const interruption = new AbortController();
    logging.delayMs = MINUTE;
    logging.faults.intercept = (_, moment) => {
      if (moment === 'before') interruption.abort();
    };
    const { code, stdout, stderr } = await run(['rotate', ...ARGS], interruption.signal);
    expect([code, stdout]).toEqual([130, '']);
    expect(stderr).toMatch(`Interrupted. The rotator goes on. See the result: ${watchCommand()}\n`);
    logging.faults.intercept = undefined;
    await push.pubsub.settled();
    bed.clock.advance(6 * DAY);
    const watched = await run(watchCommand().split(' ').slice(4));
    expect([watched.code, cells(watched.stdout)]).toMatchObject([0, [{ OUTCOME: 'rotated' }]]);
    expect(bed.states(secret)).toHaveLength(2);
  });

  test('names the missing permission when the log cannot be read', async () => {
    await start([bed.seed().secret]);
    logging.faults.inject('ListEntries', 'every', { kind: 'status', status: 403, when: 'before' });
    const { code, stderr } = await run(['rotate', ...ARGS]);
    expect(code).toBe(1);
    expect(stderr).toContain("You can't read the log. Ask for roles/logging.viewer");
    expect(stderr).toContain(`Then see the result: ${watchCommand()}\n`);
  });
});

describe('nothing is published, and the command says what to do,', () => {
  const status = (code: number): Fault => ({ kind: 'status', status: code, when: 'before' });

  test.each<[string, Fault, string]>([
    ['without the permission', status(403), `You can't publish to ${TOPIC}. Ask for`],
    ['with a refused login', status(401), 'gcloud has no valid login. Run `gcloud auth login`.'],
    ['over the quota', status(429), 'Pub/Sub answered HTTP 429. Repeat the command.'],
  ])('%s', async (_, fault, message) => {
    await start([bed.seed().secret]);
    push.pubsub.faults.inject('Publish', 'every', fault);
    const { code, stderr } = await run(['rotate', ...ARGS]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining(`Nothing was published. ${message}`),
    ]);
    expect(push.pubsub.messagesOf(TOPIC)).toEqual([]);
    expect(reads()).toBe(0);
  });

  test('without the topic', async () => {
    await start([bed.seed().secret]);
    const { code, stderr } = await run(['rotate', '--project=p', '--topic=other']);
    expect(code).toBe(1);
    expect(stderr).toContain("The topic projects/p/topics/other doesn't exist.");
  });

  test('without a login', async () => {
    await start([bed.seed().secret]);
    login('echo "ERROR: (gcloud.auth.print-access-token) You do not have an account" >&2; exit 1');
    expect(await run(['rotate', ...ARGS])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'Nothing was published. gcloud has no valid login. Run `gcloud auth login`.\n',
    });
    expect(push.pubsub.messagesOf(TOPIC)).toEqual([]);
  });

  test('with invalid arguments', async () => {
    await start([bed.seed().secret]);
    for (const args of [
      [],
      ['forget', ...ARGS],
      ['rotate', 'more', ...ARGS],
      ['rotate'],
      ['rotate', '--project=a/b'],
      ['rotate', '--project=p', '--topic=projects/p/topics/t'],
      ['rotate', ...ARGS, '--wait=2h'],
      ['rotate', ...ARGS, '--password=secret'],
      ['watch', ...ARGS],
      ['watch', 'a"b', ...ARGS],
    ]) {
      const { code, stdout, stderr } = await run(args);
      expect([args, code, stdout]).toEqual([args, 2, '']);
      expect(stderr).toContain('\n\nUsage: npm run request -- ACTION');
      expect(stderr).not.toContain('secret=secret');
    }
    expect(push.pubsub.faults.calls).toEqual([]);
  });
});

test.each<[string, Fault]>([
  ['the answer is lost', { kind: 'drop', when: 'after' }],
  ['there is no answer', { kind: 'hang', when: 'after' }],
  ['the answer is no JSON', { kind: 'not-json' }],
  ['Pub/Sub answers with an error', { kind: 'status', status: 503, when: 'after' }],
])('says that a request might be published when %s', async (_, fault) => {
  await start([bed.seed().secret]);
  push.pubsub.faults.inject('Publish', 1, fault);
  const { code, stderr } = await run(['rotate', ...ARGS]);
  expect([code, stderr]).toEqual([
    1,
    expect.stringMatching(/^The request might be published\. .* Repeat the command\.\n$/),
  ]);
  expect(push.pubsub.messagesOf(TOPIC)).toHaveLength(1);
});

test('npm run request takes the project from the variable that Cloud Shell sets', async () => {
  await start([]);
  const { stderr } = await runTool('request', {
    args: ['status'],
    env: { GOOGLE_CLOUD_PROJECT: 'p', PATH: '/nowhere' },
  });
  expect(stderr).toBe(
    'Nothing was published. gcloud is missing. Install it, or use Cloud Shell.\n',
  );
});

test('npm run request prints its usage', async () => {
  await start([]);
  const { code, stdout } = await runTool('request', { args: ['--help'], env: {} });
  expect([code, stdout.split('\n')[0]]).toEqual([0, 'Usage: npm run request -- ACTION [OPTIONS]']);
});
