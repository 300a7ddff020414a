/** The built function under the functions-framework, in a process of its own: requests, push messages, signals, and its start. */
import { createHash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { HOUR } from '../../src/duration';
import type { RotationResult } from '../../src/rotation/result';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import { PubSubEmulator } from '../../emulators/pubsub';
import { FunctionProcess } from '../function-process';
import { leaks } from '../leaks';
import { TestBed } from './test-bed';

interface Answer {
  readonly status: number;
  readonly body: {
    readonly results: RotationResult[];
    readonly error: NonNullable<RotationResult['error']>;
  };
}

const SECRETS = [
  ...Array.from({ length: 3 }, (_, n) => `projects/p/secrets/shared-${n}`),
  'projects/p/locations/europe-west6/secrets/regional',
].map((name): SecretName => parseSecretName(name) ?? raise(`not a name: ${name}`));
const TOPIC = 'projects/p/topics/rotator-requests';
/** Part of a payload in a request that an operator sent by mistake. */
const STRAY = randomBytes(24).toString('base64url');

let bed: TestBed;
/** A function that can rotate all of SECRETS, in every run. */
let shared: FunctionProcess;
let unused: SecretName[];
/** All answers and output since the last search for leaks. */
const written: string[] = [];
/** The functions that end with the test. */
const started: FunctionProcess[] = [];

beforeAll(async () => {
  bed = await TestBed.start(Date.now());
  // The function and Pub/Sub have the time of the machine.
  bed.secretManager.now = bed.momento.now = Date.now;
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

function raise(problem: string): never {
  throw new Error(problem);
}

/** Starts a function that calls the emulators. */
function start(
  secrets: readonly SecretName[],
  env: Readonly<Record<string, string>> = {},
  port?: number,
): Promise<FunctionProcess> {
  return startWith(
    { SECRETS: secrets.map(({ name }) => name).join(','), ...bed.env, ...env },
    port,
  );
}

async function startWith(env: Readonly<Record<string, string>>, port?: number) {
  const onOutput = (text: string) => written.push(text);
  const process = await FunctionProcess.start({ env, onOutput, ...(port && { port }) });
  started.push(process);
  return process;
}

/** A secret of the shared function, with a v1 key that is an hour old. */
function seedShared(secret = unused.shift() ?? raise('SECRETS is too short for so many tests')) {
  return bed.seed({ secret, createTime: bed.clock.now() - HOUR });
}

/** Sends a request. Its answer is searched for leaks. */
async function send(process: FunctionProcess, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(process.url, init);
  const text = await response.text();
  written.push(text, JSON.stringify([...response.headers]));
  return { status: response.status, body: JSON.parse(text || '{}') as Answer['body'] };
}

function post(
  process: FunctionProcess,
  body: string | Buffer | object = '',
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const isRaw = typeof body === 'string' || Buffer.isBuffer(body);
  return send(process, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream', ...headers },
    body: isRaw ? (body as string | Buffer<ArrayBuffer>) : JSON.stringify(body),
  });
}

/** Resolves when a function has handled all signals so far: it answers, or it has ended. */
async function seesSignals(process: FunctionProcess): Promise<void> {
  await send(process, { method: 'HEAD' }).catch(() => undefined);
}

describe('POST /', () => {
  it('rotates, answers with the result, and logs one line when Cloud Scheduler calls it', async () => {
    const { secret } = seedShared();
    const trace = randomBytes(16).toString('hex');
    let reply;
    const lines = await shared.linesOf(async () => {
      reply = await post(
        shared,
        { secrets: [secret.id] },
        {
          'x-cloudscheduler': 'true',
          'x-cloud-trace-context': `${trace}/1;o=1`,
          'function-execution-id': 'my-execution',
        },
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
    const steps = ['inspect', 'issue', 'verify', 'add', 'disable'];
    expect(lines).toEqual([
      {
        severity: 'INFO',
        message: expect.stringContaining(`rotated ${secret.name}`) as string,
        event: 'rotation',
        trigger: 'schedule',
        ...result,
        keyFingerprint: createHash('sha256').update(String(apiKey)).digest('hex').slice(0, 8),
        daysLeft: 30,
        keyAgeDays: 0,
        durationMs: duration,
        steps: Object.fromEntries(steps.map((step) => [step, duration])),
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
    const request = { secrets: [secret?.id], dryRun: true };
    const { body } = await post(shared, request, { 'content-type': type });
    expect(body.results.map((result) => result.secret)).toEqual([secret?.name]);
  });

  it.each<[string, string | Buffer<ArrayBuffer>, Record<string, string>?]>([
    ['is half of a JSON text', `{"secrets": ["${STRAY}`],
    ["isn't UTF-8", Buffer.from([0x7b, 0xff, 0x7d])],
    ['is longer than 16 KiB', '{}'.padEnd(16 * 1024 + 1)],
    ['is longer than 256 KiB', JSON.stringify({ secrets: ['x'.repeat(300_000)] })],
    ['is compressed', gzipSync('{"dryRun":true}'), { 'content-encoding': 'gzip' }],
  ])('changes nothing and logs one line when the body %s', async (_, body, headers = {}) => {
    for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded']) {
      let reply;
      const lines = await shared.linesOf(async () => {
        reply = await post(shared, body, { 'content-type': type, ...headers });
      });
      const error = {
        code: 'INVALID_REQUEST',
        message: expect.stringContaining('Nothing was done') as string,
        help: 'docs/operate/error-codes.md#invalid-request',
        retryable: false,
      };
      expect(reply).toEqual({ status: 400, body: { error } });
      expect(lines).toMatchObject([{ severity: 'WARNING', event: 'request', error }]);
    }
    expect(bed.called).toEqual([]);
  });

  it('reports and logs nothing when the method is GET', async () => {
    const lines = await shared.linesOf(() => send(shared));
    expect(lines).toEqual([]);
    expect(new Set(bed.called)).toEqual(
      new Set(['AccessSecretVersion', 'ListSecretVersions', 'TestIamPermissions']),
    );
  });
});

describe('a push message', () => {
  let pubsub: PubSubEmulator;
  beforeAll(async () => {
    pubsub = await PubSubEmulator.start();
    pubsub.createTopic(TOPIC);
    subscribe(TOPIC, shared);
  });
  beforeEach(() => (pubsub.copies = 1));
  afterAll(() => pubsub.stop());

  function subscribe(topic: string, { url }: FunctionProcess): void {
    const name = 'projects/p/subscriptions/rotator-requests';
    pubsub.subscribe({ name, topic, pushEndpoint: url, minimumBackoffMs: 1 });
  }

  /** Publishes, and waits until the message is acknowledged. */
  async function delivered(publish: () => string) {
    let messageId = '';
    const lines = await shared.linesOf(async () => {
      messageId = publish();
      await pubsub.settled();
    });
    return { messageId, lines, answers: pubsub.answersTo(messageId) };
  }
  const request = (fields: object) => delivered(() => pubsub.publishRequest(TOPIC, fields));
  const event = (type: string, name: string) =>
    delivered(() => pubsub.publishEvent(TOPIC, type, name));

  it.each([
    ['the event of Secret Manager names it by project number', undefined],
    ['the secret is regional', SECRETS.at(-1)],
  ])('rotates a secret once when %s, and is delivered twice', async (_, name) => {
    const { secret } = seedShared(name);
    const { messageId, lines, answers } = await event('SECRET_ROTATE', secret.name);
    expect(answers).toEqual([200]);
    const line = { secret: secret.name, trigger: 'secret-manager', messageId, severity: 'INFO' };
    expect(lines).toMatchObject([{ ...line, outcome: 'rotated' }]);
    const again = await delivered(() => {
      pubsub.redeliver(messageId);
      return messageId;
    });
    expect(again.lines).toMatchObject([{ ...line, outcome: 'already_rotated' }]);
    expect(bed.states(secret)).toEqual(['DISABLED', 'ENABLED']);
  });

  it('rotates once when it forces a rotation and is delivered twice at once', async () => {
    const { secret } = seedShared();
    pubsub.copies = 2;
    const { lines } = await request({ secrets: [secret.id], force: true });
    expect(lines.map(({ outcome }) => outcome).sort()).toEqual(['already_rotated', 'rotated']);
    expect(bed.states(secret)).toEqual(['DISABLED', 'ENABLED']);
  });

  it('is delivered again, and issues no other key, when the function was killed', async () => {
    const { secret } = bed.seed({ createTime: bed.clock.now() - HOUR });
    const killed = await start([secret]);
    const topic = 'projects/p/topics/killed';
    pubsub.createTopic(topic);
    subscribe(topic, killed);
    let restarted: Promise<FunctionProcess> | undefined;
    bed.when('after AddSecretVersion', async () => {
      killed.signal('SIGKILL');
      await killed.exited;
      restarted = start([secret], {}, Number(new URL(killed.url).port));
      // Otherwise the emulator would write to a connection without another end.
      return { kind: 'hang', when: 'after' };
    });
    const messageId = pubsub.publishRequest(topic, { force: true });
    await pubsub.settled();
    const answers = pubsub.answersTo(messageId);
    expect([answers[0], answers.at(-1)]).toEqual([undefined, 200]);
    expect((await restarted)?.logEntries).toMatchObject([
      { outcome: 'already_rotated', messageId },
    ]);
    expect(bed.timesCalled('RefreshApiToken')).toBe(1);
    expect(bed.states(secret)).toEqual(['DISABLED', 'ENABLED']);
  });

  /** The envelope of a message as Pub/Sub sends it. */
  function envelope(data: object | string): object {
    const text = typeof data === 'string' ? data : JSON.stringify(data);
    const publishTime = new Date().toISOString();
    const message = { data: Buffer.from(text).toString('base64'), messageId: '42', publishTime };
    return { message, subscription: 'projects/p/subscriptions/rotator-requests' };
  }

  // A unit test has all other reasons.
  it.each<[string, string | object]>([
    ['has an unknown field', envelope({ [STRAY]: true })],
    ['is a text', { message: STRAY, subscription: 's' }],
    ['is longer than 256 KiB', envelope(STRAY.repeat(10_000))],
    ['ends early', '{"message": {"data": "aGF'],
  ])('is acknowledged with one error line, and does nothing, when it %s', async (_, message) => {
    let answer;
    const lines = await shared.linesOf(async () => {
      answer = await post(shared, message, { 'content-type': 'application/json' });
    });
    const help = expect.stringMatching(/^docs\/operate\/error-codes\.md#[a-z-]+$/) as string;
    const error = { code: 'INVALID_REQUEST', help, retryable: false };
    expect(answer).toMatchObject({ status: 200, body: { error } });
    expect(lines).toEqual([
      expect.objectContaining({
        severity: 'ERROR',
        event: 'request',
        error: expect.objectContaining({ code: 'INVALID_REQUEST' }) as object,
      }),
    ]);
    expect(bed.called).toEqual([]);
  });
});

describe('a signal', () => {
  it.each([
    ['before any request', false],
    ['after a request', true],
  ])('ends the function when it is idle, %s', async (_, afterRequest) => {
    const { secret } = bed.seed();
    const idle = await start([secret]);
    // The framework's server refuses it without the handler, so its own handling of signals is in place.
    await fetch(idle.url, { headers: { 'x-long': 'x'.repeat(20_000) } });
    if (afterRequest) await post(idle);
    idle.signal('SIGTERM');
    expect(await idle.exited).toBe(0);
  });

  it.each<[string, NodeJS.Signals[]]>([
    ['SIGTERM', ['SIGTERM']],
    ['SIGINT twice, as from a terminal and npm', ['SIGINT', 'SIGINT']],
  ])('ends the function after the run: %s', async (_, signals) => {
    const { secret } = bed.seed();
    const process = await start([secret]);
    bed.when('after RefreshApiToken', async () => {
      for (const signal of signals) {
        process.signal(signal);
        await seesSignals(process);
      }
    });
    const reply = await post(process);
    expect(reply).toMatchObject({ status: 200, body: { results: [{ outcome: 'rotated' }] } });
    expect(await process.exited).toBe(0);
    expect(process.logEntries.at(-1)).toMatchObject({ event: 'rotation', outcome: 'rotated' });
  });

  it('loses no key when a request arrives between the signal and the end of a run', async () => {
    const [early, late] = [bed.seed().secret, bed.seed().secret];
    const process = await start([early, late]);
    const replies: Promise<unknown>[] = [];
    const lateHasIssued = Promise.withResolvers<undefined>();
    bed.momento.faults.intercept = async ({ method, n }, at) => {
      if (`${at} ${method}` !== 'after RefreshApiToken') return;
      if (n === 1) {
        process.signal('SIGTERM');
        await seesSignals(process);
        replies.push(post(process, { secrets: [late.id] }).catch(() => undefined));
        await Promise.race([lateHasIssued.promise, replies[0]]);
      } else {
        lateHasIssued.resolve(undefined);
        // Waits until the earlier run has ended, and with it perhaps the process.
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
});

/** The message of the only line of a function that doesn't start. */
function lineOfRefusal(failure: unknown): string {
  const [, output = ''] = (failure as Error).message.split('the process exited with 1: ');
  const lines = output.split('\n').filter((line) => line.startsWith('{'));
  expect(lines).toHaveLength(1);
  const line = JSON.parse(lines[0] ?? '') as { severity: string; message: string };
  expect(line.severity).toBe('CRITICAL');
  expect(line.message).toMatch(/^CONFIGURATION_INVALID: /);
  return line.message;
}

describe('the start', () => {
  it.each([
    { SECRETS: `projects/p/secrets/s,${STRAY}`, GRACE_PERIOD: STRAY, TIMEOUT: '1s' },
    { MOMENTO_EMULATOR_HOST: '10.0.0.1:80', NODE_DEBUG: 'net' },
  ])('fails with one message when these settings are invalid: %j', async (settings) => {
    const { secret } = bed.seed();
    const failure: unknown = await start([secret], settings).catch((thrown: unknown) => thrown);
    const line = lineOfRefusal(failure);
    for (const name of Object.keys(settings)) expect(line).toContain(name);
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
    const error = { code: 'CREDENTIALS_UNAVAILABLE', step: 'inspect' };
    for (let n = 0; n < 2; n += 1) {
      expect(await post(process)).toMatchObject({
        status: 500,
        body: { results: [{ error }, { error }] },
      });
    }
    expect(process.output.trim().split('\n')).toHaveLength(4);
    expect(process.logEntries).toHaveLength(4);
  });
});
