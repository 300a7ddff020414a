import { inspect } from 'node:util';
import { v1 } from '@google-cloud/secret-manager';
import { status } from '@grpc/grpc-js';
import { RotationError, toRotationError } from '../../src/errors';
import type { Version } from '../../src/rotation/ports';
import { SecretManagerStore } from '../../src/secret-manager/store';
import type { SecretName } from '../../src/secret-name';
import { DAY, LocalServices } from './support';

let services: LocalServices;
let store: SecretManagerStore;
let secret: SecretName;

beforeAll(async () => {
  services = await LocalServices.start();
  store = new SecretManagerStore(services.secretManager.host);
});

afterAll(() => services.stop());

beforeEach(() => {
  services.reset();
  ({ secret } = services.seed({ readersAreServed: false }));
});

afterEach(() => jest.restoreAllMocks());

const VERSION: Version = { number: 1, state: 'ENABLED', createdAt: 0 };

const CALLS: Readonly<Record<string, [string, () => Promise<unknown>]>> = {
  access: ['AccessSecretVersion', () => store.access(secret, 'latest')],
  list: ['ListSecretVersions', () => store.list(secret)],
  missingPermissions: ['TestIamPermissions', () => store.missingPermissions(secret, ['add'])],
  add: ['AddSecretVersion', () => store.add(secret, Buffer.from('{}'))],
  disable: ['DisableSecretVersion', () => store.disable(secret, VERSION)],
  destroy: ['DestroySecretVersion', () => store.destroy(secret, VERSION)],
};

/** The error code that a call ends with, or what it returns. */
async function outcome(call: Promise<unknown>): Promise<unknown> {
  try {
    return await call;
  } catch (thrown) {
    const error = toRotationError(thrown);
    // What the service says could quote a payload.
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
  'access FAILED_PRECONDITION': undefined,
  'access NOT_FOUND': undefined,
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
    services.secretManager.faults.inject(method, 'every', {
      kind: 'error',
      code: status[code as keyof typeof status],
      when: 'before',
    });
    const key = `${name} ${code}`;
    expect(await outcome(call())).toBe(key in UNUSUAL ? UNUSUAL[key] : usual);
    // Trying again is the rotation's business, which knows what may be repeated.
    expect(services.timesCalled(method)).toBe(1);
  });

  it('answered with something else than the service says', async () => {
    services.secretManager.faults.inject(method, 'every', { kind: 'corrupt' });
    const expected: Readonly<Record<string, unknown>> = {
      access: 'PAYLOAD_CORRUPT',
      missingPermissions: ['add'],
      // It may have been added: that has to be found out.
      add: 'SECRET_MANAGER_UNAVAILABLE',
      // What became of a version is seen in the next list.
      disable: true,
      destroy: true,
    };
    expect(await outcome(call())).toEqual(name in expected ? expected[name] : 'INTERNAL');
  });
});

it('names the permission and the role, when a call is denied all the same', async () => {
  services.secretManager.grant(secret.name, []);
  await expect(store.list(secret)).rejects.toMatchObject({
    code: 'PERMISSION_MISSING',
    message: expect.stringMatching(
      /secretmanager\.versions\.list .* roles\/secretmanager\.secretVersionManager /,
    ) as string,
  });
});

it('lists versions over several pages', async () => {
  for (let n = 2; n <= 5; n += 1) services.secretManager.addVersion(secret.name, '{}');
  const client = v1.SecretManagerServiceClient.prototype as unknown as Record<
    'listSecretVersions',
    (request: object, options: object) => Promise<unknown>
  >;
  const { listSecretVersions } = client;
  // The largest page holds more versions than a test should make.
  jest.spyOn(client, 'listSecretVersions').mockImplementation(function (
    this: unknown,
    request,
    options,
  ) {
    return listSecretVersions.call(this, { ...request, pageSize: 2 }, options);
  });
  const versions = await store.list(secret);
  expect(versions.map(({ number }) => number)).toEqual([5, 4, 3, 2, 1]);
  expect(services.timesCalled('ListSecretVersions')).toBe(3);
});

it('tells of a version what the rotation needs', async () => {
  const createTime = Date.parse('2026-01-02T03:04:05.678Z');
  const { secret: delayed } = services.seed({
    createTime,
    versionDestroyTtlMs: DAY,
    readersAreServed: false,
  });
  const [version] = await store.list(delayed);
  const etag = services.secretManager.versions(delayed.name)[0]?.etag;
  expect(version).toEqual({ number: 1, state: 'ENABLED', createdAt: createTime, etag });
  await store.destroy(delayed, VERSION);
  expect(await store.list(delayed)).toMatchObject([{ state: 'DISABLED', destroyScheduled: true }]);
});

it('changes a version only as it was listed', async () => {
  const [listed = VERSION] = await store.list(secret);
  expect(await store.disable(secret, { ...listed, etag: '"other"' })).toBe(false);
  expect(services.states(secret)).toEqual(['ENABLED']);
  expect(await store.disable(secret, listed)).toBe(true);
  expect(await store.destroy(secret, listed)).toBe(false);
  expect(services.states(secret)).toEqual(['DISABLED']);
});

it('reads a version by its number, and none that is not enabled', async () => {
  services.secretManager.addVersion(secret.name, 'second');
  services.secretManager.addVersion(secret.name, 'third', { state: 'DISABLED' });
  expect(await store.access(secret, 2)).toEqual({ number: 2, payload: Buffer.from('second') });
  expect(await store.access(secret, 3)).toBeUndefined();
  expect(await store.access(secret, 4)).toBeUndefined();
  expect(await store.access(secret, 'latest')).toBeUndefined();
});

it('asks of each secret only what is about that secret, however many calls run together', async () => {
  const secrets = Array.from({ length: 20 }, (_, n) =>
    services.seed({ parent: `projects/${n % 2 ? 'p' : 'q'}`, readersAreServed: false }),
  ).map((seeded) => seeded.secret);
  const answers = await Promise.allSettled(
    secrets.flatMap((each) => [
      store.access(each, 'latest'),
      store.list(each),
      store.missingPermissions(each, ['add']),
      store.add(each, Buffer.from('{}')),
      store.disable(each, VERSION),
    ]),
  );
  expect(answers.filter(({ status }) => status === 'rejected')).toEqual([]);
});

it('asks each endpoint for the secrets that are there', async () => {
  const parents = ['projects/p', 'projects/p/locations/eu', 'projects/p/locations/us'];
  const secrets = parents.map((parent) => services.seed({ parent, readersAreServed: false }));
  const lists = await Promise.all(secrets.map((seeded) => store.list(seeded.secret)));
  expect(lists.map((versions) => versions.length)).toEqual([1, 1, 1]);
});

it('keeps to itself what the details of an error say', async () => {
  services.secretManager.faults.inject('AddSecretVersion', 1, {
    kind: 'error',
    code: status.RESOURCE_EXHAUSTED,
    when: 'before',
  });
  const error: unknown = await store.add(secret, Buffer.from('{}')).catch((e: unknown) => e);
  const { code, message, cause } = error as RotationError;
  // The text, and what programs are told.
  const details = ['injected by the test', 'RATE_LIMIT_EXCEEDED'];
  for (const detail of details) expect(inspect(cause)).toContain(detail);
  expect(code).toBe('SECRET_MANAGER_QUOTA_EXCEEDED');
  for (const detail of details) expect(message).not.toContain(detail);
});

async function messageOf(call: Promise<unknown>): Promise<string> {
  const error = await call.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(RotationError);
  return `${(error as RotationError).code}: ${(error as RotationError).message}`;
}

it('says so when a service does not offer TestIamPermissions', async () => {
  services.secretManager.faults.inject('TestIamPermissions', 1, {
    kind: 'error',
    code: status.UNIMPLEMENTED,
    when: 'before',
  });
  expect(await messageOf(store.missingPermissions(secret, ['add']))).toMatch(
    /^SECRET_MANAGER_REFUSED: .*does not offer TestIamPermissions/,
  );
});

it.each([
  ['a call that needs a permission', () => store.list(secret)],
  ['one that needs none', () => store.missingPermissions(secret, ['add'])],
])('says so when the API is not enabled, to %s', async (_, call) => {
  services.secretManager.isEnabled = false;
  expect(await messageOf(call())).toMatch(
    /^SECRET_MANAGER_REFUSED: The Secret Manager API is not enabled in the project of /,
  );
});
