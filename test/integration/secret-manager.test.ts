/** The client of Secret Manager against the emulator: what each answer means, and connections. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { inspect } from 'node:util';
import { status } from '@grpc/grpc-js';
import { systemClock } from '../../src/clock';
import { DAY } from '../../src/duration';
import { RotationError, toRotationError } from '../../src/errors';
import type { Access, CallLimits, Version } from '../../src/rotation/ports';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import type { Fault } from '../../emulators/faults';
import { SecretManagerEmulator } from '../../emulators/secret-manager';
import { freePort } from '../server-process';
import '../schema-once';

const UNLIMITED = { deadline: Infinity };

let emulator: SecretManagerEmulator;
let limits: CallLimits;
let store: SecretManagerStore;
/** A secret with one version, for each test. */
let secret: SecretName;
let created = 0;

beforeEach(async () => {
  limits = UNLIMITED;
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
  store.access(of, version, limits);
const list = async (of = secret): Promise<readonly Version[]> =>
  (await store.list(of, limits)).versions;
const numbers = async (): Promise<number[]> => (await list()).map(({ number }) => number);
const add = (payload = '{}'): Promise<Version> => store.add(secret, Buffer.from(payload), limits);
const states = (): string[] => emulator.versions(secret.name).map(({ state }) => state);
const called = (method: string): number =>
  emulator.faults.calls.filter((call) => call.method === method).length;

const CALLS: Readonly<Record<string, [string, () => Promise<unknown>]>> = {
  access: ['AccessSecretVersion', () => access()],
  get: ['GetSecretVersion', () => store.get(secret, 1, limits)],
  list: ['ListSecretVersions', () => list()],
  missingPermissions: [
    'TestIamPermissions',
    () => store.missingPermissions(secret, ['add'], limits),
  ],
  add: ['AddSecretVersion', () => add()],
  disable: ['DisableSecretVersion', () => store.disable(secret, VERSION, NEWER, limits)],
  destroy: ['DestroySecretVersion', () => store.destroy(secret, VERSION, NEWER, limits)],
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
    // The text of the service could quote a payload.
    expect(error.message).not.toContain('injected');
    return error.code;
  }
}

const failing = (code: keyof typeof status): Fault => ({
  kind: 'error',
  code: status[code],
  when: 'before',
});

/** The codes that mean something else to some calls, and two that don't. A unit test has all codes. */
const USUAL: Readonly<Record<string, string>> = {
  NOT_FOUND: 'SECRET_NOT_FOUND',
  PERMISSION_DENIED: 'PERMISSION_MISSING',
  FAILED_PRECONDITION: 'SECRET_MANAGER_REFUSED',
  ABORTED: 'SECRET_MANAGER_UNAVAILABLE',
  UNAVAILABLE: 'SECRET_MANAGER_UNAVAILABLE',
  // The last one: afterwards the client makes no call before the next minute.
  RESOURCE_EXHAUSTED: 'SECRET_MANAGER_QUOTA_EXCEEDED',
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
  it('returns or fails as documented when the answer is an error', async () => {
    const found: Record<string, unknown> = {};
    const expected: Record<string, unknown> = {};
    for (const [code, usual] of Object.entries(USUAL)) {
      emulator.faults.clear();
      emulator.faults.inject(method, 'every', failing(code as keyof typeof status));
      found[code] = await outcome(call());
      const key = `${name} ${code}`;
      expected[code] = key in UNUSUAL ? UNUSUAL[key] : usual;
    }
    expect(found).toEqual(expected);
    // The rotation repeats calls, because it knows which ones can be repeated.
    expect(called(method)).toBe(Object.keys(USUAL).length);
  });

  it('returns no wrong value when the answer is not as documented', async () => {
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
    limits = { deadline: 0 };
    expect(await outcome(call())).toBe('DEADLINE_EXCEEDED');
    expect(emulator.faults.calls).toEqual([]);
  });
});

describe('access', () => {
  it('returns the payload of a version by its number, and of the newest one by its alias', async () => {
    secret = create('projects/p', 'first', 'second');
    const first = { kind: 'payload', number: 1, payload: Buffer.from('first') };
    expect(await access(1)).toMatchObject(first);
    expect(await access()).toMatchObject({ kind: 'payload', number: 2 });
    expect(await access(3)).toEqual({ kind: 'absent' });
  });

  it.each(['DISABLED', 'DESTROYED'] as const)(
    "isn't possible when the version is %s",
    async (state) => {
      emulator.setState(secret.name, '1', state);
      const notReadable = { kind: 'not_readable', reason: 'FAILED_PRECONDITION' };
      expect([await access(), await access(1)]).toEqual([notReadable, notReadable]);
      expect(await store.get(secret, 1, limits)).toMatchObject({ number: 1, state });
    },
  );

  it.each<[string, (answer: Record<string, unknown>) => object]>([
    ['another version', (answer) => ({ ...answer, name: 'projects/1/secrets/s1/versions/9' })],
    [
      "another secret's version",
      (answer) => ({ ...answer, name: 'projects/1/secrets/x/versions/1' }),
    ],
    ['no name', ({ payload }) => ({ payload })],
    ['no payload', ({ name }) => ({ name })],
  ])('fails when it is answered with %s', async (_, change) => {
    emulator.rewrite = (__, answer) => change(answer as Record<string, unknown>);
    expect(await errorOf(access(1))).toMatchObject({
      code: 'SECRET_MANAGER_UNAVAILABLE',
      problem: expect.stringContaining('it contains no payload of version 1') as string,
    });
  });
});

describe('list', () => {
  it('returns the state, the times and the etag of a version', async () => {
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
    expect(await store.get(secret, 1, limits)).toEqual(expected);
    await store.destroy(secret, VERSION, NEWER, limits);
    expect((await list())[0]).toMatchObject({ state: 'DISABLED', destroyScheduled: true });
  });

  it('returns the versions of all pages in ascending order', async () => {
    fill(5);
    emulator.maxPageSize = 2;
    expect(await numbers()).toEqual([1, 2, 3, 4, 5]);
    expect(called('ListSecretVersions')).toBe(3);
  });

  it.each(['same', 'other'] as const)(
    "fails when it doesn't end, and each page names the %s next page",
    async (kind) => {
      emulator.endlessPages = kind;
      const error = await errorOf(list());
      expect(error.code).toBe('SECRET_MANAGER_REFUSED');
      expect(error.problem).toContain(`The list of versions of ${secret.name} doesn't end`);
      expect(called('ListSecretVersions')).toBe(kind === 'same' ? 2 : 100);
    },
  );
});

describe.each(['disable', 'destroy'] as const)('%s', (verb) => {
  it('changes a version only when its etag is the listed one', async () => {
    fill(2);
    const [listed = VERSION, newer = NEWER] = await list();
    const other = { ...listed, etag: '"other"' };
    expect(await store[verb](secret, other, newer, limits)).toBe(false);
    expect(states()).toEqual(['ENABLED', 'ENABLED']);
    expect(await store[verb](secret, listed, newer, limits)).toBe(true);
    expect(states()).toEqual(['ENABLED', verb === 'disable' ? 'DISABLED' : 'DESTROYED']);
    expect(await store[verb](secret, listed, newer, limits)).toBe(false);
  });

  it.each([
    ['the same version', 2],
    ['an older version', 1],
    ['no number', NaN],
  ])('fails without a call when the newer version is %s', async (_, number) => {
    fill(2);
    const newest = { ...VERSION, number: 2 };
    const newer = { ...VERSION, number };
    expect(await outcome(store[verb](secret, newest, newer, limits))).toBe('INTERNAL');
    expect(states()).toEqual(['ENABLED', 'ENABLED']);
    expect(emulator.faults.calls).toEqual([]);
  });
});

describe('add', () => {
  it("has an unknown outcome when Secret Manager adds the version after the client's deadline", async () => {
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

  it('has an unknown outcome when the answer has no number, and succeeds when it has only that', async () => {
    emulator.rewrite = () => ({});
    expect(await errorOf(add())).toMatchObject({
      code: 'SECRET_MANAGER_UNAVAILABLE',
      outcomeUnknown: true,
    });
    emulator.rewrite = (_, { name }: { name?: string }) => ({ name });
    expect(await add()).toMatchObject({ number: 3, state: 'ENABLED', incomplete: true });
  });

  it('has no effect when the quota is exceeded or the connection is refused', async () => {
    emulator.quotas = { writesPerMinute: 0 };
    expect(await errorOf(add())).toMatchObject({ outcomeUnknown: false, quota: true });
    const gone = `127.0.0.1:${await freePort()}`;
    store = new SecretManagerStore({ emulator: gone, clock: systemClock });
    expect(await errorOf(add())).toMatchObject({ outcomeUnknown: false, retryable: true });
  });
});

describe('names', () => {
  it("are returned with the project's number", async () => {
    const { versions, canonicalName } = await store.list(secret, limits);
    expect(versions).toHaveLength(1);
    expect(canonicalName).toMatch(/^projects\/\d+\/secrets\/s\d+$/);
    expect(await access()).toMatchObject({ canonicalName });
    const byNumber = parseSecretName(canonicalName ?? '') ?? secret;
    expect(await store.list(byNumber, limits)).toMatchObject({ canonicalName });
  });

  it('are in the routing header of their own call when many calls run at the same time', async () => {
    const secrets = Array.from({ length: 20 }, (_, n) => create(`projects/${n % 2 ? 'p' : 'q'}`));
    const answers = await Promise.allSettled(
      secrets.flatMap((each) => [
        access('latest', each),
        list(each),
        store.missingPermissions(each, ['add'], limits),
      ]),
    );
    expect(answers.filter(({ status }) => status === 'rejected')).toEqual([]);
  });

  it('lead to the endpoint of their location', async () => {
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

  it('name the reason and the project, and what to do', async () => {
    const metadata = { consumer: 'projects/123456789012' };
    emulator.refusal = { reason: 'BILLING_DISABLED', metadata };
    expect(await errorOf(access())).toMatchObject({
      code: 'SECRET_MANAGER_REFUSED',
      problem: `Google Cloud refused a call for ${secret.name} (BILLING_DISABLED, projects/123456789012).`,
      action: expect.stringContaining('Enable billing for projects/123456789012') as string,
    });
  });

  it('name VPC Service Controls when only the details contain it', async () => {
    emulator.refusal = { reason: 'UNKNOWN_REASON', violation: 'VPC_SERVICE_CONTROLS' };
    expect((await errorOf(access())).problem).toContain('(VPC_SERVICE_CONTROLS)');
    emulator.refusal = { reason: 'UNKNOWN_REASON' };
    expect((await errorOf(access())).code).toBe('SECRET_MANAGER_REFUSED');
  });

  it("name the emulator when it doesn't offer TestIamPermissions", async () => {
    emulator.faults.inject('TestIamPermissions', 1, failing('UNIMPLEMENTED'));
    const { problem } = await errorOf(store.missingPermissions(secret, ['add'], limits));
    expect(problem).toBe(`${emulator.host} doesn't offer TestIamPermissions.`);
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

  it('distinguish an answer, a lost connection, and a host that could not be reached', async () => {
    emulator.faults.inject('ListSecretVersions', 'every', failing('UNAVAILABLE'));
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
});

/** A TCP proxy that can stop forwarding: its open connections stay open and lose all data, and new ones work. */
class SilencingProxy {
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

it('opens a new connection when a call had no answer in time', async () => {
  const proxy = new SilencingProxy(emulator.host);
  try {
    store = new SecretManagerStore({ emulator: await proxy.listen(), clock: systemClock });
    expect(await add()).toMatchObject({ number: 2 });
    proxy.goSilent();
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
    // The client closed the silent connection. The proxy has two sockets for each connection.
    const [oldEnd] = proxy.connections;
    if (oldEnd !== undefined && !oldEnd.closed) {
      await once(oldEnd, 'close', { signal: AbortSignal.timeout(5_000) });
    }
    expect(proxy.connections).toHaveLength(4);
  } finally {
    proxy.stop();
  }
});
