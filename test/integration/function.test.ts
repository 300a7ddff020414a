/** The deployed function in a process of its own: HTTP, signals, and failures to start. */
import { createHash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { HOUR } from '../../src/duration';
import type { RotationResult } from '../../src/rotation/result';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import type { Hook, Moment } from '../../emulators/faults';
import { FunctionProcess } from '../function-process';
import { leaks } from '../leaks';
import { until } from '../until';
import { TestBed } from './test-bed';

interface Reply {
  status: number;
  headers: Headers;
  text: string;
}

interface Body {
  results: RotationResult[];
  error: NonNullable<RotationResult['error']>;
}

const SECRETS = Array.from({ length: 20 }, (_, n) => named(`projects/p/secrets/shared-${n}`));
/** Part of a payload in a request that an operator sent by mistake. */
const STRAY = randomBytes(24).toString('base64url');

let bed: TestBed;
/** A function that may rotate all of SECRETS, in every run. */
let shared: FunctionProcess;
let unused: SecretName[];
/** All answers and output since the last search for leaks. */
const written: string[] = [];
/** The functions that end with the test. */
const started: FunctionProcess[] = [];

beforeAll(async () => {
  bed = await TestBed.start(Date.now());
  shared = await start(SECRETS);
  started.length = 0;
  unused = [...SECRETS];
});

afterAll(async () => {
  await shared.stop();
  await bed.stop();
});

beforeEach(() => bed.reset());

afterEach(async () => {
  await Promise.all(started.splice(0).map((process) => process.stop()));
  expect(bed.violations).toEqual([]);
  expect(leaks([...bed.secrets, STRAY], written.splice(0))).toEqual([]);
});

function named(name: string): SecretName {
  const secret = parseSecretName(name);
  if (secret === undefined) throw new Error(`not a name: ${name}`);
  return secret;
}

/** Starts a function that calls the emulators. */
function start(
  secrets: readonly SecretName[],
  env: Readonly<Record<string, string>> = {},
): Promise<FunctionProcess> {
  return startWith({
    SECRETS: secrets.map(({ name }) => name).join(','),
    SECRET_MANAGER_EMULATOR_HOST: bed.secretManager.host,
    MOMENTO_EMULATOR_HOST: bed.momento.host,
    ...env,
  });
}

async function startWith(env: Readonly<Record<string, string>>): Promise<FunctionProcess> {
  const process = await FunctionProcess.start({ env, onOutput: (text) => written.push(text) });
  started.push(process);
  return process;
}

/** A secret of the shared function, with a key in it. */
function seedShared() {
  const secret = unused.shift();
  if (secret === undefined) throw new Error('SECRETS is too short for so many tests');
  return bed.seed({ secret, createTime: bed.clock.now() - HOUR });
}

async function send(
  { url }: FunctionProcess,
  { path = '', ...init }: RequestInit & { path?: string } = {},
): Promise<Reply> {
  const response = await fetch(url + path, init);
  const text = await response.text();
  written.push(text, JSON.stringify([...response.headers]));
  return { status: response.status, headers: response.headers, text };
}

async function post(
  process: FunctionProcess,
  body: string | Buffer | object = '',
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply & { body: Body }> {
  const reply = await send(process, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream', ...headers },
    body:
      typeof body === 'string' || Buffer.isBuffer(body)
        ? (body as string | Buffer<ArrayBuffer>)
        : JSON.stringify(body),
  });
  return { ...reply, body: JSON.parse(reply.text) as Body };
}

/** What a function writes while something is done; every line has to be a structured one. */
async function linesOf(
  process: FunctionProcess,
  act: () => Promise<unknown>,
): Promise<Record<string, unknown>[]> {
  const before = process.output.length;
  await act();
  // What is written later cannot be overtaken by what was written before.
  const marker = randomBytes(8).toString('hex');
  await send(process, { path: 'marker', headers: { 'function-execution-id': marker } });
  let lines: string[] = [];
  await until(() => {
    lines = process.output.slice(before).split('\n').slice(0, -1);
    return lines.some((line) => line.includes(marker));
  });
  return lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ executionId }) => executionId !== marker);
}

/** Does something once, before or after the first call of a method, or injects a fault there. */
function when(moment: `${Moment} ${string}`, act: () => ReturnType<Hook>): void {
  let isDone = false;
  for (const { faults } of [bed.secretManager, bed.momento]) {
    faults.intercept = async ({ method }, at) => {
      if (isDone || moment !== `${at} ${method}`) return;
      isDone = true;
      return act();
    };
  }
}

/** The header of all tries of a run that Cloud Scheduler began some time ago. */
function scheduled(): Record<string, string> {
  const minute = Math.floor(Date.now() / 60_000 - 1) * 60_000;
  return { 'x-cloudscheduler-scheduletime': new Date(minute).toISOString() };
}

/** Resolves when a function has dealt with all signals so far: it answers, or is no more. */
async function seesSignals(process: FunctionProcess): Promise<void> {
  await send(process, { method: 'HEAD' }).catch(() => undefined);
}

describe('POST /', () => {
  it('rotates, answers with the result, and logs one line', async () => {
    const { secret } = seedShared();
    const trace = randomBytes(16).toString('hex');
    let reply;
    const lines = await linesOf(shared, async () => {
      reply = await post(
        shared,
        { secrets: [secret.id] },
        { 'x-cloud-trace-context': `${trace}/1;o=1`, 'function-execution-id': 'my-execution' },
      );
    });
    const { apiKey, validUntil } = bed.latest(secret);
    const result = {
      secret: secret.name,
      outcome: 'rotated',
      reason: 'every run rotates',
      version: '2',
      previousVersion: '1',
      issuedBy: 'refresh',
      expiresAt: new Date(Number(validUntil) * 1000).toISOString(),
      verified: true,
      disabled: ['1'],
    };
    expect(reply).toMatchObject({ status: 200, body: { results: [result] } });
    const duration = expect.any(Number) as number;
    expect(lines).toEqual([
      {
        severity: 'INFO',
        message: expect.stringContaining(`rotated ${secret.name}`) as string,
        event: 'rotation',
        trigger: 'http',
        ...result,
        keyFingerprint: createHash('sha256').update(String(apiKey)).digest('hex').slice(0, 8),
        daysLeft: 30,
        keyAgeDays: 0,
        durationMs: duration,
        steps: {
          inspect: duration,
          issue: duration,
          verify: duration,
          add: duration,
          disable: duration,
        },
        'logging.googleapis.com/trace': `projects/p/traces/${trace}`,
        executionId: 'my-execution',
        // The framework adds these two.
        'logging.googleapis.com/spanId': '1',
        'logging.googleapis.com/labels': { execution_id: 'my-execution' },
      },
    ]);
  });

  it.each([
    'application/octet-stream',
    'application/json; charset=utf-7',
    'application/cloudevents+json',
    'multipart/form-data',
    'nonsense',
  ])('reads the body when its content type is %s', async (type) => {
    const [secret] = SECRETS;
    const { body } = await post(
      shared,
      { secrets: [secret?.id], dryRun: true },
      { 'content-type': type },
    );
    expect(body.results.map((result) => result.secret)).toEqual([secret?.name]);
  });

  const INVALID: [string, string | Buffer<ArrayBuffer>][] = [
    ['is half of a JSON text', `{"secrets": ["${STRAY}`],
    ["isn't UTF-8", Buffer.from([0x7b, 0xff, 0x7d])],
    ['has an unknown field', JSON.stringify({ [STRAY]: true })],
    ['is longer than 16 KiB', '{}'.padEnd(16 * 1024 + 1)],
    ['is compressed', gzipSync('{"dryRun":true}')],
  ];

  it.each(INVALID)('changes nothing when the body %s', async (name, body) => {
    for (const type of [
      'application/octet-stream',
      'application/json',
      'text/plain',
      'application/x-www-form-urlencoded',
    ]) {
      const reply = await post(shared, body, {
        'content-type': type,
        ...(name === 'is compressed' && { 'content-encoding': 'gzip' }),
      });
      expect(reply.status).toBe(400);
      expect(reply.body).toEqual({
        error: {
          code: 'INVALID_REQUEST',
          message: expect.stringContaining('Nothing was done') as string,
          help: 'docs/operate/error-codes.md#invalid-request',
          retryable: false,
        },
      });
    }
    expect(bed.called).toEqual([]);
  });

  it('logs one line when it refuses a request', async () => {
    const lines = await linesOf(shared, () => post(shared, STRAY));
    expect(lines).toEqual([
      expect.objectContaining({
        severity: 'WARNING',
        event: 'request',
        error: expect.objectContaining({ code: 'INVALID_REQUEST' }) as unknown,
      }),
    ]);
  });

  it('adds one version when 50 requests arrive at the same time', async () => {
    const { secret } = seedShared();
    let replies: Awaited<ReturnType<typeof post>>[] = [];
    const lines = await linesOf(shared, async () => {
      replies = await Promise.all(
        Array.from({ length: 50 }, () => post(shared, { secrets: [secret.id] }, scheduled())),
      );
    });
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    expect(bed.timesCalled('RefreshApiToken')).toBe(1);
    expect(bed.timesCalled('AddSecretVersion')).toBe(1);
    expect(bed.states(secret)).toEqual(['DISABLED', 'ENABLED']);
    expect(lines.filter(({ outcome }) => outcome === 'rotated')).toHaveLength(1);
  });

  it('rotates the other secrets when one fails, and answers with the highest status', async () => {
    const secrets = ['good', 'broken', 'missing', 'regional'].map((id) =>
      named(`projects/several/${id === 'regional' ? 'locations/europe-west6/' : ''}secrets/${id}`),
    );
    const [good, broken, missing, regional] = secrets as [
      SecretName,
      SecretName,
      SecretName,
      SecretName,
    ];
    bed.seed({ secret: good });
    bed.seed({ secret: broken, payload: () => STRAY, isWatched: false });
    bed.seed({ secret: regional });
    const several = await start(secrets, { RENEW_BEFORE: '1h' });
    let reply;
    const lines = await linesOf(several, async () => {
      reply = await post(several, { force: true });
    });
    expect(reply).toMatchObject({
      status: 422,
      body: {
        results: [
          { secret: good.name, outcome: 'rotated' },
          { secret: broken.name, outcome: 'failed', error: { code: 'PAYLOAD_INVALID' } },
          { secret: missing.name, outcome: 'failed', error: { code: 'SECRET_NOT_FOUND' } },
          { secret: regional.name, outcome: 'rotated' },
        ],
      },
    });
    expect(lines.map(({ secret, severity }) => [secret, severity]).toSorted()).toEqual(
      [
        [good.name, 'INFO'],
        [broken.name, 'ERROR'],
        [missing.name, 'ERROR'],
        [regional.name, 'INFO'],
      ].toSorted(),
    );
    expect(bed.states(good)).toEqual(['DISABLED', 'ENABLED']);
  });
});

describe('GET /', () => {
  it('logs nothing, changes nothing and calls only Secret Manager when it reports', async () => {
    const lines = await linesOf(shared, () => send(shared));
    expect(lines).toEqual([]);
    expect(new Set(bed.called)).toEqual(
      new Set(['AccessSecretVersion', 'ListSecretVersions', 'TestIamPermissions']),
    );
  });
});

describe('a signal', () => {
  it.each([
    ['before any request', false],
    ['after a request', true],
  ])('ends the function when it is idle, %s', async (_, afterRequest) => {
    const { secret } = bed.seed();
    const idle = await start([secret]);
    // Answered by the framework's server without the handler, so its way of dealing with signals is in place.
    await send(idle, { headers: { 'x-long': 'x'.repeat(20_000) } });
    if (afterRequest) await post(idle);
    idle.signal('SIGTERM');
    expect(await idle.exited).toBe(0);
  });

  it.each<[string, NodeJS.Signals[]]>([
    ['SIGTERM', ['SIGTERM']],
    ['SIGINT', ['SIGINT']],
    ['SIGTERM twice', ['SIGTERM', 'SIGTERM']],
    ['SIGINT twice, as from a terminal and npm', ['SIGINT', 'SIGINT']],
  ])('ends the function after the run: %s', async (_, signals) => {
    bed.momento.refreshTokens = 'single-use';
    const { secret, key } = bed.seed();
    const process = await start([secret]);
    when('after RefreshApiToken', async () => {
      for (const signal of signals) {
        process.signal(signal);
        await seesSignals(process);
      }
    });
    const reply = await post(process);
    expect(reply).toMatchObject({
      status: 200,
      body: { results: [{ outcome: 'rotated', disabled: ['1'] }] },
    });
    expect(await process.exited).toBe(0);
    expect(process.logEntries).toContainEqual(
      expect.objectContaining({ event: 'rotation', outcome: 'rotated' }),
    );
    expect(bed.latest(secret).apiKey === key.apiKey).toBe(false);
  });

  it('loses no key when a request arrives between the signal and the end of a run', async () => {
    const [early, late] = [bed.seed().secret, bed.seed().secret];
    const process = await start([early, late]);
    const replies: Promise<unknown>[] = [];
    let hasIssued = (): void => undefined;
    const lateHasIssued = new Promise<void>((resolve) => {
      hasIssued = resolve;
    });
    bed.momento.faults.intercept = async ({ method, n }, at) => {
      if (`${at} ${method}` !== 'after RefreshApiToken') return;
      if (n === 1) {
        process.signal('SIGTERM');
        await seesSignals(process);
        replies.push(post(process, { secrets: [late.id] }).catch(() => undefined));
        await Promise.race([lateHasIssued, replies[0]]);
      } else {
        hasIssued();
        // Held while the earlier one ends, and with it perhaps the process.
        await first;
        await seesSignals(process);
      }
    };
    const first = post(process, { secrets: [early.id] });
    expect((await first).body.results).toMatchObject([{ outcome: 'rotated' }]);
    await Promise.all(replies);
    expect(await process.exited).toBe(0);
    expect(bed.timesCalled('AddSecretVersion')).toBe(bed.timesCalled('RefreshApiToken'));
  });

  it.each([
    ['before RefreshApiToken', ['ENABLED']],
    ['after RefreshApiToken', ['ENABLED']],
    ['after AddSecretVersion', ['ENABLED', 'ENABLED']],
    ['before DisableSecretVersion', ['ENABLED', 'ENABLED']],
  ] as const)(
    'ends the function at once when it is SIGKILL, %s, and the next run recovers',
    async (moment, states) => {
      const { secret, key } = seedShared();
      const killed = await start([secret]);
      when(moment, async () => {
        killed.signal('SIGKILL');
        await killed.exited;
        // Otherwise the call would take effect once the process is gone.
        return { kind: 'hang', when: 'before' };
      });
      await expect(post(killed)).rejects.toThrow();
      expect(bed.states(secret)).toEqual(states);

      const { body } = await post(shared, { secrets: [secret.id] });
      expect(body.results).toMatchObject([{ outcome: 'rotated' }]);
      expect(bed.states(secret)).toEqual([...states.map(() => 'DISABLED'), 'ENABLED']);
      const { apiKey, refreshToken } = bed.latest(secret);
      expect(apiKey === key.apiKey).toBe(false);
      expect(bed.momento.acceptsRefresh(String(apiKey), String(refreshToken))).toBe(true);
    },
  );
});

/** The message of the only line of a function that refuses to start. */
function lineOfRefusal(failure: unknown): string {
  const { message } = failure as Error;
  const [, output = ''] = message.split('the process exited with 1: ');
  const lines = output
    .trim()
    .split('\n')
    .filter((line) => line.startsWith('{'));
  expect(lines).toHaveLength(1);
  const line = JSON.parse(lines[0] ?? '') as { severity: string; message: string };
  expect(line.severity).toBe('CRITICAL');
  expect(line.message).toMatch(/^CONFIGURATION_INVALID: /);
  return line.message;
}

describe('the start', () => {
  it('fails with one message about all problems when the configuration is invalid', async () => {
    const failure: unknown = await startWith({
      SECRETS: `projects/p/secrets/s,${STRAY}`,
      RENEW_BEFORE: '0%',
      GRACE_PERIOD: STRAY,
      DESTROY_AFTER: '1 day',
      VERIFY: 'yes',
      TIMEOUT: '1s',
      SECRET_MANAGER_EMULATOR_HOST: 'secretmanager.googleapis.com:443',
      MOMENTO_EMULATOR_HOST: '10.0.0.1:80',
      NODE_DEBUG: 'net',
    }).catch((thrown: unknown) => thrown);
    const line = lineOfRefusal(failure);
    for (const name of [
      'Entry 2 of SECRETS',
      'RENEW_BEFORE',
      'GRACE_PERIOD',
      'DESTROY_AFTER',
      'VERIFY',
      'TIMEOUT',
      'SECRET_MANAGER_EMULATOR_HOST',
      'MOMENTO_EMULATOR_HOST',
      'NODE_DEBUG',
    ]) {
      expect(line).toContain(name);
    }
  });

  it.each([
    { GOOGLE_SDK_NODE_LOGGING: 'all' },
    { NODE_DEBUG: 'tls,htt*' },
    { GRPC_VERBOSITY: 'DEBUG', GRPC_TRACE: 'all' },
    { NODE_TLS_REJECT_UNAUTHORIZED: '0' },
  ])('fails when a setting would expose secrets: %j', async (settings) => {
    const { secret } = bed.seed();
    const failure: unknown = await start([secret], settings).catch((thrown: unknown) => thrown);
    expect(lineOfRefusal(failure)).toContain(Object.keys(settings).at(-1));
    expect(bed.called).toEqual([]);
  });

  it('succeeds when debug settings print no secret', async () => {
    const { secret } = bed.seed();
    const verbose = await start([secret], {
      NODE_DEBUG: 'esm,http2,module,source_map,timer,tls,worker',
      GRPC_VERBOSITY: 'DEBUG',
      DEBUG: 'express,body-parser',
    });
    const { body } = await post(verbose);
    expect(body.results).toMatchObject([{ outcome: 'rotated' }]);
    // The search for leaks after each test reads this output.
    expect(verbose.output).toContain('HTTP2');
  });

  it('succeeds when Google credentials are missing, and runs fail with CREDENTIALS_UNAVAILABLE', async () => {
    const process = await startWith({
      SECRETS: 'projects/p/secrets/s,projects/p/locations/l/secrets/s',
      GOOGLE_APPLICATION_CREDENTIALS: '/nonexistent/credentials.json',
      METADATA_SERVER_DETECTION: 'none',
    });
    for (let n = 0; n < 2; n += 1) {
      const { status, body } = await post(process);
      expect(status).toBe(500);
      expect(body.results.map(({ error }) => error)).toEqual(
        Array(2).fill(
          expect.objectContaining({ code: 'CREDENTIALS_UNAVAILABLE', step: 'inspect' }),
        ),
      );
    }
    expect(process.logEntries).toHaveLength(4);
    expect(process.output.trim().split('\n')).toHaveLength(4);
    process.signal('SIGTERM');
    expect(await process.exited).toBe(0);
  });
});
