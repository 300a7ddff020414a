import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { inspect } from 'node:util';
import { status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { systemClock } from '../../src/clock';
import { RotationError, toRotationError } from '../../src/errors';
import type { Access, Version } from '../../src/rotation/ports';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import { SecretManagerEmulator } from '../../emulators/secret-manager';
import { freePort } from '../server-process';

const DAY = 24 * 3600 * 1000;
const LIMITS = { deadline: Infinity };

let emulator: SecretManagerEmulator;
let store: SecretManagerStore;
/** A secret with one version, for each test. */
let secret: SecretName;
let created = 0;

beforeEach(async () => {
  emulator = await SecretManagerEmulator.start();
  store = new SecretManagerStore({ emulator: emulator.host, clock: systemClock });
  secret = create();
});

afterEach(() => emulator.stop());

function create(parent = 'projects/p', ...payloads: string[]): SecretName {
  created += 1;
  const name = parseSecretName(`${parent}/secrets/s${created}`);
  if (name === undefined) throw new Error(`not a parent: ${parent}`);
  emulator.createSecret(name.name);
  for (const payload of payloads.length > 0 ? payloads : ['{}']) {
    emulator.addVersion(name.name, payload);
  }
  return name;
}

/** Adds versions until there are this many. */
function fill(count: number): void {
  while (emulator.versions(secret.name).length < count) emulator.addVersion(secret.name, '{}');
}

const VERSION: Version = { number: 1, state: 'ENABLED', createdAt: 0 };
const NEWER: Version = { ...VERSION, number: 2 };

const access = (version: number | 'latest' = 'latest', of = secret): Promise<Access> =>
  store.access(of, version, LIMITS);
const list = async (of = secret): Promise<readonly Version[]> =>
  (await store.list(of, LIMITS)).versions;
const numbers = async (): Promise<number[]> => (await list()).map(({ number }) => number);
const add = (payload = '{}'): Promise<Version> => store.add(secret, Buffer.from(payload), LIMITS);
const states = (): string[] => emulator.versions(secret.name).map(({ state }) => state);
const called = (method: string): number =>
  emulator.faults.calls.filter((call) => call.method === method).length;

const CALLS: Readonly<Record<string, [string, () => Promise<unknown>]>> = {
  access: ['AccessSecretVersion', () => access()],
  get: ['GetSecretVersion', () => store.get(secret, 1, LIMITS)],
  list: ['ListSecretVersions', () => list()],
  missingPermissions: [
    'TestIamPermissions',
    () => store.missingPermissions(secret, ['add'], LIMITS),
  ],
  add: ['AddSecretVersion', () => add()],
  disable: ['DisableSecretVersion', () => store.disable(secret, VERSION, NEWER, LIMITS)],
  destroy: ['DestroySecretVersion', () => store.destroy(secret, VERSION, NEWER, LIMITS)],
};

/** The error of a call. */
async function errorOf(call: Promise<unknown>): Promise<RotationError> {
  const error = await call.then(
    (value) => new Error(`it gave ${inspect(value)}`),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(RotationError);
  return error as RotationError;
}

/** The error code that a call ends with, or what it returns. */
async function outcome(call: Promise<unknown>): Promise<unknown> {
  try {
    return await call;
  } catch (thrown) {
    const error = toRotationError(thrown);
    // The service's own text could quote a payload.
    expect(error.message).not.toContain('injected');
    return error.code;
  }
}

const USUAL: Readonly<Record<string, string>> = {
  CANCELLED: 'SECRET_MANAGER_UNAVAILABLE',
  UNKNOWN: 'SECRET_MANAGER_UNAVAILABLE',
  INVALID_ARGUMENT: 'SECRET_MANAGER_REFUSED',
  DEADLINE_EXCEEDED: 'SECRET_MANAGER_UNAVAILABLE',
  NOT_FOUND: 'SECRET_NOT_FOUND',
  ALREADY_EXISTS: 'SECRET_MANAGER_REFUSED',
  PERMISSION_DENIED: 'PERMISSION_MISSING',
  RESOURCE_EXHAUSTED: 'SECRET_MANAGER_QUOTA_EXCEEDED',
  FAILED_PRECONDITION: 'SECRET_MANAGER_REFUSED',
  ABORTED: 'SECRET_MANAGER_UNAVAILABLE',
  OUT_OF_RANGE: 'SECRET_MANAGER_REFUSED',
  UNIMPLEMENTED: 'SECRET_MANAGER_REFUSED',
  INTERNAL: 'SECRET_MANAGER_UNAVAILABLE',
  UNAVAILABLE: 'SECRET_MANAGER_UNAVAILABLE',
  DATA_LOSS: 'SECRET_MANAGER_UNAVAILABLE',
  UNAUTHENTICATED: 'CREDENTIALS_UNAVAILABLE',
};

/** Where an answer means something else to one of the calls. */
const UNUSUAL: Readonly<Record<string, unknown>> = {
  'access FAILED_PRECONDITION': { kind: 'not_readable', reason: 'FAILED_PRECONDITION' },
  'access PERMISSION_DENIED': {
    kind: 'not_readable',
    reason: 'IAM_PERMISSION_DENIED',
    isDenied: true,
  },
  'access NOT_FOUND': { kind: 'absent' },
  'get NOT_FOUND': undefined,
  // It needs no permission of its own.
  'missingPermissions PERMISSION_DENIED': 'SECRET_MANAGER_REFUSED',
  'disable FAILED_PRECONDITION': false,
  'disable NOT_FOUND': false,
  'disable ABORTED': false,
  'destroy FAILED_PRECONDITION': false,
  'destroy NOT_FOUND': false,
  'destroy ABORTED': false,
};

describe.each(Object.entries(CALLS))('%s', (name, [method, call]) => {
  it.each(Object.entries(USUAL))('answered with %s', async (code, usual) => {
    emulator.faults.inject(method, 'every', {
      kind: 'error',
      code: status[code as keyof typeof status],
      when: 'before',
    });
    const key = `${name} ${code}`;
    expect(await outcome(call())).toEqual(key in UNUSUAL ? UNUSUAL[key] : usual);
    // The rotation repeats calls, because it knows which ones can be repeated.
    expect(called(method)).toBe(1);
  });

  it('answered with something that the service does not document', async () => {
    emulator.faults.inject(method, 'every', { kind: 'corrupt' });
    const expected: Readonly<Record<string, unknown>> = {
      access: 'PAYLOAD_CORRUPT',
      get: 'SECRET_MANAGER_UNAVAILABLE',
      list: 'SECRET_MANAGER_UNAVAILABLE',
      missingPermissions: ['add'],
      add: 'SECRET_MANAGER_UNAVAILABLE',
      // The next list shows what became of the version.
      disable: true,
      destroy: true,
    };
    expect(await outcome(call())).toEqual(expected[name]);
  });

  it('fails without a call when its deadline is over', async () => {
    store = new SecretManagerStore({
      emulator: emulator.host,
      clock: { ...systemClock, monotonic: () => Infinity },
    });
    const LATE = { deadline: 0 };
    const late: Readonly<Record<string, () => Promise<unknown>>> = {
      access: () => store.access(secret, 1, LATE),
      get: () => store.get(secret, 1, LATE),
      list: () => store.list(secret, LATE),
      missingPermissions: () => store.missingPermissions(secret, ['add'], LATE),
      add: () => store.add(secret, Buffer.from('{}'), LATE),
      disable: () => store.disable(secret, VERSION, NEWER, LATE),
      destroy: () => store.destroy(secret, VERSION, NEWER, LATE),
    };
    expect(await outcome(late[name]?.() ?? Promise.resolve())).toBe('DEADLINE_EXCEEDED');
    expect(emulator.faults.calls).toEqual([]);
  });
});

describe('access', () => {
  it('reads a version by its number, and latest', async () => {
    secret = create('projects/p', 'first', 'second');
    const first = { kind: 'payload', number: 1, payload: Buffer.from('first') };
    expect(await access(1)).toMatchObject(first);
    expect(await access()).toMatchObject({ kind: 'payload', number: 2 });
    expect(await access(3)).toEqual({ kind: 'absent' });
  });

  it.each(['DISABLED', 'DESTROYED'] as const)(
    'does not read a version that is %s',
    async (state) => {
      emulator.setState(secret.name, '1', state);
      const notReadable = { kind: 'not_readable', reason: 'FAILED_PRECONDITION' };
      expect([await access(), await access(1)]).toEqual([notReadable, notReadable]);
      expect(await store.get(secret, 1, LIMITS)).toMatchObject({ number: 1, state });
    },
  );

  it('does not read a version whose encryption key is disabled, while the version is enabled', async () => {
    emulator.setKeyState(secret.name, '1', 'DISABLED');
    expect(await access(1)).toEqual({ kind: 'not_readable', reason: 'FAILED_PRECONDITION' });
    expect(await store.get(secret, 1, LIMITS)).toMatchObject({ number: 1, state: 'ENABLED' });
    emulator.setKeyState(secret.name, '1', 'ENABLED');
    expect(await access(1)).toMatchObject({ kind: 'payload' });
  });

  it('does not read a version that an IAM condition hides, while no permission is missing', async () => {
    fill(2);
    emulator.setHidden(secret.name, '1', true);
    expect(await access(1)).toEqual({
      kind: 'not_readable',
      reason: 'IAM_PERMISSION_DENIED',
      isDenied: true,
    });
    expect(await access(2)).toMatchObject({ kind: 'payload' });
    expect(await store.missingPermissions(secret, ['access'], LIMITS)).toEqual([]);
  });

  it('fails when the project or a policy forbids it, which is no state of the version', async () => {
    emulator.refusal = { reason: 'SERVICE_DISABLED' };
    expect(await outcome(access())).toBe('SECRET_MANAGER_REFUSED');
    emulator.refusal = { reason: 'A_REASON_THAT_NOBODY_KNOWS' };
    expect(await outcome(access())).toBe('SECRET_MANAGER_REFUSED');
  });

  it.each<[string, (answer: Record<string, unknown>) => object]>([
    ['another version', (answer) => ({ ...answer, name: 'projects/1/secrets/s1/versions/9' })],
    [
      "another secret's version",
      (answer) => ({ ...answer, name: 'projects/1/secrets/x/versions/1' }),
    ],
    ['no name', ({ payload }) => ({ payload })],
    ['no payload', ({ name }) => ({ name })],
    ['an empty payload', ({ name }) => ({ name, payload: {} })],
  ])('fails when it is answered with %s', async (_, change) => {
    emulator.rewrite = (__, answer) => change(answer as Record<string, unknown>);
    expect(await errorOf(access(1))).toMatchObject({
      code: 'SECRET_MANAGER_UNAVAILABLE',
      problem: expect.stringContaining("couldn't be read: no payload of version 1") as string,
    });
  });
});

describe('list', () => {
  it('reads a version', async () => {
    const createTime = Date.parse('2026-01-02T03:04:05.678Z');
    secret = { ...secret, name: 'projects/p/secrets/delayed', id: 'delayed' };
    emulator.createSecret(secret.name, { versionDestroyTtlMs: DAY });
    emulator.addVersion(secret.name, '{}', { createTime });
    emulator.addVersion(secret.name, '{}');
    const { etag } = emulator.versions(secret.name)[1] ?? {};
    const expected = {
      number: 1,
      state: 'ENABLED',
      createdAt: createTime,
      etag,
      destroyScheduled: false,
      incomplete: false,
    };
    expect((await list())[0]).toEqual(expected);
    expect(await store.get(secret, 1, LIMITS)).toEqual(expected);
    await store.destroy(secret, VERSION, NEWER, LIMITS);
    expect((await list())[0]).toMatchObject({ state: 'DISABLED', destroyScheduled: true });
  });

  it('reads all pages, in ascending order', async () => {
    fill(5);
    emulator.maxPageSize = 2;
    expect(await numbers()).toEqual([1, 2, 3, 4, 5]);
    expect(called('ListSecretVersions')).toBe(3);
  });

  it('has each version once when pages overlap or repeat it', async () => {
    fill(5);
    emulator.maxPageSize = 3;
    emulator.pageOverlap = 2;
    emulator.rewrite = doubled;
    expect(await numbers()).toEqual([1, 2, 3, 4, 5]);
  });

  it.each(['same', 'other'] as const)(
    'fails when it does not end, and each page names the %s next page',
    async (kind) => {
      emulator.endlessPages = kind;
      const error = await errorOf(list());
      expect(error.code).toBe('SECRET_MANAGER_REFUSED');
      expect(error.problem).toContain(`The list of versions of ${secret.name} doesn't end`);
      expect(called('ListSecretVersions')).toBe(kind === 'same' ? 2 : 100);
    },
  );

  it('ends with its deadline, however many pages there are', async () => {
    emulator.endlessPages = 'other';
    let now = 0;
    const clock = { ...systemClock, monotonic: () => (now += 1) };
    store = new SecretManagerStore({ emulator: emulator.host, clock });
    expect(await outcome(store.list(secret, { deadline: 50 }))).toBe('DEADLINE_EXCEEDED');
    expect(called('ListSecretVersions')).toBeLessThan(50);
  });

  it('keeps a version of an unknown state, which is neither disabled nor destroyed', async () => {
    fill(2);
    emulator.rewrite = (_, answer) => ({
      ...answer,
      versions: (answer as { versions: object[] }).versions.map((each) => ({ ...each, state: 4 })),
    });
    const [first = VERSION, second = NEWER] = await list();
    expect([first, second]).toMatchObject([
      { number: 1, incomplete: true },
      { number: 2, incomplete: true },
    ]);
    emulator.rewrite = undefined;
    expect(await store.disable(secret, first, second, LIMITS)).toBe(false);
    expect(await store.destroy(secret, first, second, LIMITS)).toBe(false);
    expect(states()).toEqual(['ENABLED', 'ENABLED']);
  });

  it('is empty for a secret without versions, and not for one whose entries cannot be read', async () => {
    emulator.createSecret('projects/p/secrets/empty');
    const empty = parseSecretName('projects/p/secrets/empty') ?? secret;
    expect(await store.list(empty, LIMITS)).toEqual({ versions: [], canonicalName: undefined });
    emulator.rewrite = (_, answer) => ({ ...answer, versions: [{}] });
    expect(await outcome(list())).toBe('SECRET_MANAGER_UNAVAILABLE');
  });
});

/** Lists each version twice. */
function doubled(_: string, answer: object): object {
  const { versions = [] } = answer as { versions?: object[] };
  return { ...answer, versions: versions.flatMap((version) => [version, version]) };
}

describe.each(['disable', 'destroy'] as const)('%s', (verb) => {
  it('changes a version only as it was listed', async () => {
    fill(2);
    const [listed = VERSION, newer = NEWER] = await list();
    const other = { ...listed, etag: '"other"' };
    expect(await store[verb](secret, other, newer, LIMITS)).toBe(false);
    expect(states()).toEqual(['ENABLED', 'ENABLED']);
    expect(await store[verb](secret, listed, newer, LIMITS)).toBe(true);
    expect(states()).toEqual(['ENABLED', verb === 'disable' ? 'DISABLED' : 'DESTROYED']);
    expect(await store[verb](secret, listed, newer, LIMITS)).toBe(false);
  });

  it.each([
    ['the same version', 2],
    ['an older version', 1],
    ['no number', NaN],
  ])('refuses to change a version when the newer one is %s, without a call', async (_, number) => {
    fill(2);
    const newest = { ...VERSION, number: 2 };
    const newer = { ...VERSION, number };
    expect(await outcome(store[verb](secret, newest, newer, LIMITS))).toBe('INTERNAL');
    expect(states()).toEqual(['ENABLED', 'ENABLED']);
    expect(emulator.faults.calls).toEqual([]);
  });
});

describe('add', () => {
  it('gives the new version', async () => {
    expect(await add('new')).toMatchObject({ number: 2, state: 'ENABLED', incomplete: false });
    expect(await access(2)).toMatchObject({ payload: Buffer.from('new') });
  });

  it('has an unknown outcome when Secret Manager is later than the caller', async () => {
    let now = 0;
    emulator.now = () => now;
    emulator.additionDelayMs = 12_000;
    expect(await errorOf(add())).toMatchObject({
      code: 'SECRET_MANAGER_UNAVAILABLE',
      outcomeUnknown: true,
    });
    expect(await access(2)).toEqual({ kind: 'absent' });
    now = 12_000;
    expect(await access(2)).toMatchObject({ kind: 'payload' });
  });

  it('has an unknown outcome when the answer has no number, and is done when it has nothing else', async () => {
    emulator.rewrite = () => ({});
    expect(await errorOf(add())).toMatchObject({
      code: 'SECRET_MANAGER_UNAVAILABLE',
      outcomeUnknown: true,
    });
    emulator.rewrite = (_, { name }: { name?: string }) => ({ name });
    expect(await add()).toMatchObject({ number: 3, state: 'ENABLED', incomplete: true });
  });

  it('certainly has no effect when the quota is used up or nothing was connected', async () => {
    emulator.quotas = { writesPerMinute: 0 };
    expect(await errorOf(add())).toMatchObject({ outcomeUnknown: false, quota: true });
    const gone = `127.0.0.1:${await freePort()}`;
    store = new SecretManagerStore({ emulator: gone, clock: systemClock });
    expect(await errorOf(add())).toMatchObject({ outcomeUnknown: false, retryable: true });
  });
});

describe('names', () => {
  it("gives the secret's name with the project's number", async () => {
    const { versions, canonicalName } = await store.list(secret, LIMITS);
    expect(versions).toHaveLength(1);
    expect(canonicalName).toMatch(/^projects\/\d+\/secrets\/s\d+$/);
    expect(await access()).toMatchObject({ canonicalName });
    const byNumber = parseSecretName(canonicalName ?? '') ?? secret;
    expect(await store.list(byNumber, LIMITS)).toMatchObject({ canonicalName });
  });

  it('asks each secret only about itself, however many calls run together', async () => {
    const secrets = Array.from({ length: 20 }, (_, n) => create(`projects/${n % 2 ? 'p' : 'q'}`));
    const answers = await Promise.allSettled(
      secrets.flatMap((each) => [
        access('latest', each),
        list(each),
        store.missingPermissions(each, ['add'], LIMITS),
      ]),
    );
    expect(answers.filter(({ status }) => status === 'rejected')).toEqual([]);
  });

  it('asks each endpoint for the secrets that are there', async () => {
    const parents = ['projects/p', 'projects/p/locations/eu', 'projects/p/locations/us'];
    const lists = await Promise.all(parents.map((parent) => list(create(parent))));
    expect(lists.map((versions) => versions.length)).toEqual([1, 1, 1]);
  });
});

describe('errors', () => {
  it('name the permission and the role when a call is denied', async () => {
    emulator.grant(secret.name, []);
    expect(await errorOf(list())).toMatchObject({
      code: 'PERMISSION_MISSING',
      problem: `The function's service account lacks secretmanager.versions.list on ${secret.name}, or the secret doesn't exist.`,
      action: expect.stringContaining('roles/secretmanager.secretVersionManager') as string,
    });
  });

  it.each([
    ['SERVICE_DISABLED', 'Enable secretmanager.googleapis.com in projects/123456789012'],
    ['BILLING_DISABLED', 'Enable billing for projects/123456789012'],
    ['CONSUMER_INVALID', 'Check that projects/123456789012 exists'],
    ['CONSUMER_SUSPENDED', 'Ask Google Cloud support why projects/123456789012'],
    ['SECURITY_POLICY_VIOLATED', 'VPC Service Controls around projects/123456789012'],
    ['ACCESS_TOKEN_SCOPE_INSUFFICIENT', 'https://www.googleapis.com/auth/cloud-platform'],
    ['USER_PROJECT_DENIED', 'roles/serviceusage.serviceUsageConsumer'],
  ])('name the reason %s and the project, and what to do', async (reason, action) => {
    emulator.refusal = { reason, metadata: { consumer: 'projects/123456789012' } };
    for (const [, call] of Object.values(CALLS)) {
      expect(await errorOf(call())).toMatchObject({
        code: 'SECRET_MANAGER_REFUSED',
        problem: `Google Cloud refused a call for ${secret.name} (${reason}, projects/123456789012).`,
        action: expect.stringContaining(action) as string,
      });
    }
  });

  it('name VPC Service Controls when only the details do', async () => {
    emulator.refusal = { reason: 'UNKNOWN_REASON', violation: 'VPC_SERVICE_CONTROLS' };
    const { problem } = await errorOf(access());
    expect(problem).toContain('(VPC_SERVICE_CONTROLS)');
  });

  it('name the other service that is disabled', async () => {
    const metadata = { service: 'cloudkms.googleapis.com', consumer: 'projects/p' };
    emulator.refusal = { reason: 'SERVICE_DISABLED', metadata };
    const { action } = await errorOf(list());
    expect(action).toContain('Enable cloudkms.googleapis.com in projects/p');
  });

  it('repeat no text of the service', async () => {
    const foreign = 'QWxhZGRpbjpvcGVuc2VzYW1l';
    emulator.refusal = {
      reason: `FOREIGN_${foreign}`,
      metadata: { consumer: `projects/${foreign}`, service: foreign },
    };
    const errors = [await errorOf(access())];
    emulator.refusal = { ...emulator.refusal, reason: 'SERVICE_DISABLED' };
    errors.push(await errorOf(access()));
    emulator.refusal = { ...emulator.refusal, code: status.UNAVAILABLE, reason: foreign };
    errors.push(await errorOf(access()));
    for (const { message, cause } of errors) {
      expect(inspect(cause)).toContain(foreign);
      expect(message).not.toContain(foreign);
    }
  });

  it('tell an answer from no answer', async () => {
    emulator.faults.inject('ListSecretVersions', 'every', {
      kind: 'error',
      code: status.UNAVAILABLE,
      when: 'before',
    });
    expect((await errorOf(list())).problem).toBe(
      `Secret Manager (${emulator.host}) answered UNAVAILABLE.`,
    );
    emulator.faults.inject('ListSecretVersions', 'every', { kind: 'drop', when: 'after' });
    expect(await errorOf(list())).toMatchObject({
      problem: `Secret Manager (${emulator.host}) lost the connection before its answer.`,
      outcomeUnknown: true,
    });
    const gone = `127.0.0.1:${await freePort()}`;
    store = new SecretManagerStore({ emulator: gone, clock: systemClock });
    expect(await errorOf(list())).toMatchObject({
      problem: `Secret Manager (${gone}) couldn't be reached (ECONNREFUSED).`,
      action: `Check that the function can reach ${gone}.`,
    });
    store = new SecretManagerStore({ emulator: 'nothing.invalid:443', clock: systemClock });
    expect(await errorOf(list())).toMatchObject({
      problem: "Secret Manager (nothing.invalid:443) couldn't be reached (ENOTFOUND).",
    });
  });

  it('say that a service does not offer TestIamPermissions', async () => {
    emulator.faults.inject('TestIamPermissions', 1, {
      kind: 'error',
      code: status.UNIMPLEMENTED,
      when: 'before',
    });
    const { problem } = await errorOf(store.missingPermissions(secret, ['add'], LIMITS));
    expect(problem).toBe(`${emulator.host} doesn't offer TestIamPermissions.`);
  });
});

describe('many calls', () => {
  it('are never more than 32 in flight', async () => {
    let inFlight = 0;
    let most = 0;
    emulator.faults.intercept = async (_, when) => {
      inFlight += when === 'before' ? 1 : -1;
      most = Math.max(most, inFlight);
      if (when === 'before') await new Promise((resolve) => setImmediate(resolve));
    };
    await Promise.all(Array.from({ length: 200 }, () => access()));
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(32);
  });

  it('let an add pass when the quota for reads is used up', async () => {
    emulator.quotas = { readsPerMinute: 0 };
    expect(await outcome(list())).toBe('SECRET_MANAGER_QUOTA_EXCEEDED');
    const soon = { deadline: systemClock.monotonic() + 10 };
    expect(await outcome(store.list(secret, soon))).toBe('SECRET_MANAGER_QUOTA_EXCEEDED');
    expect(called('ListSecretVersions')).toBe(1);
    expect(await add()).toMatchObject({ number: 2 });
  });
});

/** A way to the emulator that can go silent: its open connections swallow everything, and new ones work. */
class Way {
  readonly connections: Socket[] = [];
  readonly #server: Server;

  constructor(target: string) {
    const [host = '', port] = target.split(':');
    this.#server = createServer((socket) => {
      const onward = connect(Number(port), host);
      this.connections.push(socket, onward);
      for (const end of [socket, onward]) end.on('error', () => end.destroy());
      socket.pipe(onward).pipe(socket);
    });
  }

  async listen(): Promise<string> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  goSilent(): void {
    for (const socket of this.connections) {
      socket.unpipe();
      // What arrives is read, and lost.
      socket.resume();
    }
  }

  stop(): void {
    for (const socket of this.connections) socket.destroy();
    this.#server.close();
  }
}

it('replaces a connection that has gone silent, after one call without an answer', async () => {
  const way = new Way(emulator.host);
  try {
    store = new SecretManagerStore({ emulator: await way.listen(), clock: systemClock });
    expect(await add()).toMatchObject({ number: 2 });
    way.goSilent();
    // Both calls use the silent connection. They end after the time for one call.
    const lost = await Promise.all([errorOf(add()), errorOf(list())]);
    expect(lost).toMatchObject([
      {
        problem: expect.stringMatching(/didn't answer in time\.$/) as string,
        outcomeUnknown: true,
      },
      { problem: expect.stringMatching(/didn't answer in time\.$/) as string },
    ]);
    expect(await add()).toMatchObject({ number: 3 });
    // The silent connection was closed: of its two ends, and of the new one's, none but the new one's are open.
    const [oldEnd] = way.connections;
    if (oldEnd !== undefined && !oldEnd.closed) {
      await once(oldEnd, 'close', { signal: AbortSignal.timeout(5_000) });
    }
    expect(way.connections).toHaveLength(4);
  } finally {
    way.stop();
  }
}, 60_000);

describe('whatever is answered', () => {
  const state = fc.constantFrom('ENABLED', 'DISABLED', 'DESTROYED', 'STATE_UNSPECIFIED', 4);
  const versionNumber = fc.integer({ min: 0, max: 3 });
  const name = fc.oneof(
    versionNumber.map((n) => `projects/1/secrets/ID/versions/${n}`),
    fc.constantFrom('', 'projects/1/secrets/x/versions/3', 'projects/1/secrets/ID/versions/latest'),
  );
  const time = fc.oneof(
    fc.constant(null),
    fc.record({
      seconds: fc.integer({ min: -1, max: 4e9 }),
      nanos: fc.integer({ min: 0, max: 1e9 }),
    }),
  );
  const version = fc.record(
    { name, state, createTime: time, etag: fc.constantFrom('', '"x"') },
    { requiredKeys: [] },
  );
  const answers = fc.record({
    versions: fc.array(version, { maxLength: 6 }),
    isAppended: fc.boolean(),
    maxPageSize: fc.integer({ min: 1, max: 3 }),
    pageOverlap: fc.integer({ min: 0, max: 3 }),
    endlessPages: fc.constantFrom(undefined, undefined, 'same' as const),
    payload: fc.option(
      fc.record(
        { data: fc.uint8Array({ maxLength: 3 }), dataCrc32c: fc.integer() },
        { requiredKeys: [] },
      ),
    ),
  });

  it('the newest version stays, and no error is INTERNAL', async () => {
    let skipped = 0;
    const clock = {
      ...systemClock,
      monotonic: () => skipped,
      sleep: (ms: number) => Promise.resolve(void (skipped += ms)),
    };
    store = new SecretManagerStore({ emulator: emulator.host, clock });
    await fc.assert(
      fc.asyncProperty(answers, async (answer) => {
        secret = create('projects/p', 'a', 'b', 'c');
        const rename = (one: { name?: string }): object => ({
          ...one,
          name: one.name?.replace('ID', secret.id),
        });
        const { maxPageSize, pageOverlap, endlessPages } = answer;
        Object.assign(emulator, { maxPageSize, pageOverlap, endlessPages });
        emulator.rewrite = (method, real) => {
          const first = rename(answer.versions[0] ?? {});
          if (method === 'AddSecretVersion' || method === 'GetSecretVersion') return first;
          if (method === 'AccessSecretVersion') return { ...first, payload: answer.payload };
          if (method !== 'ListSecretVersions') return real;
          const listed = answer.isAppended ? (real as { versions: object[] }).versions : [];
          return { ...real, versions: [...listed, ...answer.versions.map(rename)] };
        };
        const codes: unknown[] = [
          await outcome(access()),
          await outcome(access(1)),
          await outcome(store.get(secret, 1, LIMITS)),
        ];
        const versions = await list().catch((error: unknown) => {
          codes.push(toRotationError(error).code);
          return [];
        });
        const newest = versions.at(-1) ?? VERSION;
        // A plan without any caution.
        for (const each of versions) {
          for (const change of ['disable', 'destroy'] as const) {
            const changed = await outcome(store[change](secret, each, newest, LIMITS));
            if (each === newest) expect(changed).toBe('INTERNAL');
            else codes.push(changed);
          }
        }
        expect(emulator.versions(secret.name)[0]).toMatchObject({ version: '3', state: 'ENABLED' });
        codes.push(await outcome(add()));
        expect(codes).not.toContain('INTERNAL');
      }),
      { numRuns: 60 },
    );
  });
});
