import { RotationError } from '../../../src/errors';
import { inspect, readAnother, readNewestEnabled } from '../../../src/rotation/inspect';
import type {
  Access,
  KeySession,
  Permission,
  SecretStore,
  Version,
  VersionList,
} from '../../../src/rotation/ports';
import { DAY, HOUR, inTurn, NOW, SECOND, version } from '../support';
import { error, key, QUOTA, STORE_REFUSES, testBed, UNAVAILABLE, type Plan } from './test-bed';

const ALL: Permission[] = ['access', 'list', 'add', 'disable'];
const NOT_READABLE: Access = { kind: 'not_readable', reason: 'FAILED_PRECONDITION' };
const CORRUPT = error('PAYLOAD_CORRUPT');
const ABSENT: Access = { kind: 'absent' };

function payloadOf(number: number): Access {
  return { kind: 'payload', number, payload: key(`k${number}`).serialize() };
}

function inspectIn(plan: Plan = {}, permissions: Permission[] = ALL) {
  return inspect(testBed(plan).begin(), permissions);
}

/** The code of what blocks the next key. */
async function blockerIn(plan: Plan): Promise<string | undefined> {
  const { next } = await inspectIn(plan);
  return next instanceof RotationError ? next.code : undefined;
}

test('finds the newest version, its key, and how the next key is obtained', async () => {
  expect(await inspectIn()).toMatchObject({
    versions: [{ number: 3 }, { number: 4 }],
    newest: { number: 4 },
    readable: { number: 4 },
    current: { version: { number: 4 }, credential: { fingerprint: 'k4' } },
    missing: [],
    next: { by: 'refresh' },
    canonicalName: 'projects/1/secrets/s',
    warnings: [],
  });
});

test('finds nothing in an empty secret with a role, and how its first key is obtained', async () => {
  expect(await inspectIn({ versions: [], secret: { role: 'r' } })).toMatchObject({
    versions: [],
    newest: undefined,
    current: undefined,
    next: { by: 'refresh' },
    warnings: [],
  });
});

test('counts a version that is listed twice once', async () => {
  const list = inTurn<VersionList>({ versions: [version(4), version(3), version(4), version(3)] });
  const { versions } = await inspectIn({ versions: [version(3), version(4)], store: { list } });
  expect(versions.map(({ number }) => number)).toEqual([3, 4]);
});

test('starts to read the management key before it reads the secret', async () => {
  const order: string[] = [];
  await inspectIn({
    session: { prepare: () => void order.push('prepare') },
    store: { access: () => Promise.resolve(payloadOf(4)).finally(() => order.push('access')) },
  });
  expect(order[0]).toBe('prepare');
});

test('keeps no payload', async () => {
  expect(JSON.stringify(await inspectIn())).not.toContain('payload');
});

describe('fails', () => {
  const lacks = (...missing: Permission[]): Partial<SecretStore> => ({
    missingPermissions: inTurn(missing),
  });

  const denied = { ...lacks('access'), access: inTurn<never>(STORE_REFUSES) };
  const list = inTurn<never>(error('SECRET_NOT_FOUND'));
  const absent = { ...lacks(...ALL), access: inTurn(ABSENT), list };

  test.each<[string, Partial<SecretStore>, string]>([
    ['a payload is corrupt', { access: inTurn<never>(CORRUPT) }, 'PAYLOAD_CORRUPT'],
    ['the list is refused', { list: inTurn<never>(STORE_REFUSES) }, 'SECRET_MANAGER_REFUSED'],
    ['the quota stays used up', { list: inTurn<never>(QUOTA) }, 'SECRET_MANAGER_QUOTA_EXCEEDED'],
    [
      'permissions stay unknown',
      { missingPermissions: inTurn<never>(UNAVAILABLE) },
      UNAVAILABLE.code,
    ],
    ['a permission is missing that a failed call needed', denied, 'PERMISSION_MISSING'],
    ["a secret doesn't exist, so that all permissions are missing", absent, 'SECRET_NOT_FOUND'],
    ['something unexpected happens', { list: inTurn<never>(new TypeError('planted')) }, 'INTERNAL'],
  ])('when %s', async (_name, store, code) => {
    await expect(inspectIn({ store })).rejects.toMatchObject({ code });
  });

  test('only after retries when the failure is transient', async () => {
    const list = inTurn<VersionList>(UNAVAILABLE, UNAVAILABLE, { versions: [version(4)] });
    expect((await inspectIn({ store: { list } })).newest?.number).toBe(4);
  });
});

describe('returns the blocker of the next key', () => {
  const lacksDisable = { missingPermissions: inTurn<Permission[]>(['disable']) };
  const unusable = [version(1, 'DESTROYED'), version(2, 'DISABLED')];
  const role = { secret: { role: 'r' } };

  test.each<[string, Plan, string]>([
    ['a permission is missing', { store: lacksDisable }, 'PERMISSION_MISSING'],
    ['the secret is empty and has no role', { versions: [] }, 'NO_VERSION'],
    ['no version is enabled', { versions: unusable }, 'NO_ENABLED_VERSION'],
    [
      'no version is enabled, even with a role',
      { versions: unusable, ...role },
      'NO_ENABLED_VERSION',
    ],
    ["the payload isn't a credential", { contents: { 4: '?' } }, 'PAYLOAD_INVALID'],
    ["the key can't be renewed", { next: error('KEY_NOT_REFRESHABLE') }, 'KEY_NOT_REFRESHABLE'],
  ])('when %s', async (_name, plan, code) => {
    expect(await blockerIn(plan)).toBe(code);
  });

  test('together with the versions', async () => {
    expect(await inspectIn({ contents: { 4: '?' } })).toMatchObject({
      newest: { number: 4 },
      readable: { number: 4 },
      current: undefined,
    });
  });

  test('naming every missing permission', async () => {
    const missing: Permission[] = ['add', 'disable'];
    const found = await inspectIn({ store: { missingPermissions: inTurn(missing) } });
    expect(found.missing).toEqual(missing);
    expect((found.next as RotationError).problem).toContain('add, disable');
  });
});

describe('a newest version that is disabled', () => {
  test.each(['DISABLED', 'DESTROYED'] as const)(
    'or %s: the newest enabled one is used',
    async (state) => {
      const found = await inspectIn({ versions: [version(2), version(3), version(4, state)] });
      expect(found).toMatchObject({
        newest: { number: 4, state },
        readable: { number: 3 },
        current: { credential: { fingerprint: 'k3' } },
        warnings: [
          `version 4, the newest, is ${state.toLowerCase()}: applications that read latest get an error until a version ` +
            'is added; the rotator uses version 3 instead',
        ],
      });
    },
  );

  test('causes a warning when there is no other', async () => {
    const { warnings } = await inspectIn({ versions: [version(4, 'DISABLED')] });
    expect(warnings).toEqual([
      expect.stringMatching(/^version 4, the newest, is disabled: .* is added$/),
    ]);
  });
});

describe('lagging reads', () => {
  /** A store in which `latest` and the list show the past, and access by number shows what is. */
  const lagging = (latest: Access, listed: Version[]): Partial<SecretStore> => {
    const memory = testBed({ versions: [version(3), version(4)] }).environment.store;
    return {
      list: inTurn<VersionList>({ versions: listed }),
      access: (secret, number, limits) =>
        number === 'latest' ? Promise.resolve(latest) : memory.access(secret, number, limits),
    };
  };

  test.each<[string, Access, Version[], number, number]>([
    ['takes a version that no list shows for the newest', payloadOf(5), [version(4)], 5, 5],
    ['takes a version that can be read for enabled', payloadOf(4), [version(4, 'DISABLED')], 4, 4],
    ['takes the newest of the list when latest lags', payloadOf(3), [version(3), version(4)], 4, 4],
    ['drops a listed version that is gone', payloadOf(4), [version(4), version(9)], 4, 4],
  ])('%s', async (_name, latest, listed, newest, current) => {
    const found = await inspectIn({ store: lagging(latest, listed) });
    expect(found.newest?.number).toBe(newest);
    expect(found.current?.credential.fingerprint).toBe(`k${current}`);
    expect(found.warnings).toEqual([]);
  });

  test('marks a version that no list shows, as created now', async () => {
    const { newest } = await inspectIn({ store: lagging(payloadOf(5), [version(4)]) });
    expect(newest).toEqual({ number: 5, state: 'ENABLED', createdAt: NOW, unlisted: true });
  });

  test('gets the version itself when a list shows a disabled version as enabled', async () => {
    const { begin, versions } = testBed({
      versions: [version(3), version(4, 'DISABLED')],
      store: { list: inTurn<VersionList>({ versions: [version(3), version(4)] }) },
    });
    const found = await inspect(begin(), ALL);
    expect(found).toMatchObject({ newest: versions.get(4), readable: { number: 3 } });
    expect(found.unreadable.size).toBe(0);
  });
});

describe('an unreadable newest version', () => {
  const unreadable = (next?: Plan['next']): Plan => ({
    versions: [version(3), version(4)],
    unreadable: [4],
    next: next ?? {},
  });

  test('blocks a refreshed secret, and names the reason', async () => {
    const found = await inspectIn(unreadable());
    expect(found).toMatchObject({
      newest: { number: 4, state: 'ENABLED' },
      unreadable: new Map([[4, 'FAILED_PRECONDITION']]),
      next: { code: 'VERSION_UNREADABLE' },
    });
    // Never a refresh with the used token of an older version.
    expect([found.readable, found.current]).toEqual([undefined, undefined]);
    expect((found.next as RotationError).problem).toBe(
      "Version 4 of projects/p/secrets/s is enabled, and the function can't read it (FAILED_PRECONDITION).",
    );
    expect(found.warnings.join()).toContain(
      "version 4, the newest, is enabled and can't be read (FAILED_PRECONDITION)",
    );
  });

  test("doesn't block a minted secret", async () => {
    expect((await inspectIn(unreadable({ by: 'mint' }))).next).toMatchObject({ by: 'mint' });
  });

  test.each<[string, { isDenied?: boolean; ageMs: number }, boolean]>([
    ['for less than an hour', { ageMs: HOUR - 1 }, true],
    ['for an hour', { ageMs: HOUR }, false],
    ['by IAM, for days', { ageMs: 3 * DAY, isDenied: true }, true],
  ])(
    'blocks when its predecessor is unreadable, too, %s',
    async (_name, { isDenied, ageMs }, blocks) => {
      const versions = [version(3), version(4, 'ENABLED', NOW - ageMs)];
      const plan = { ...unreadable({ by: 'mint' }), versions, unreadable: [3, 4] };
      const memory = testBed(plan).environment.store;
      const access: SecretStore['access'] = async (...parameters) => {
        const read = await memory.access(...parameters);
        return read.kind === 'not_readable' ? { ...read, isDenied } : read;
      };
      const { next } = await inspectIn({ ...plan, store: { access } });
      expect(next instanceof RotationError && next.code).toBe(blocks && 'VERSION_UNREADABLE');
    },
  );

  test.each<[string, number[], number | undefined]>([
    ['the next older version', [4], 3],
    ['an even older version', [4, 3], 2],
    ['nothing when no version can be read', [4, 3, 2], undefined],
  ])('takes format and terms from %s', async (_name, hidden, expected) => {
    const asked: (number | undefined)[] = [];
    const versions = [version(2), version(3), version(4)];
    const plan = { ...unreadable({ by: 'mint' }), versions, unreadable: hidden };
    const { session } = testBed(plan).begin();
    const nextKey: KeySession['nextKey'] = (secret, current) => {
      asked.push(current?.version.number);
      return session.nextKey(secret, current);
    };
    await inspectIn({ ...plan, session: { nextKey } });
    expect(asked).toEqual([expected]);
  });

  test('blocks a minted secret whose next key is unknown', async () => {
    expect(await blockerIn(unreadable(error('ROLE_UNKNOWN')))).toBe('VERSION_UNREADABLE');
  });

  test("is assumed when the function isn't allowed to get the version itself", async () => {
    const store = { get: inTurn<never>(error('PERMISSION_MISSING')) };
    expect(await blockerIn({ ...unreadable(), store })).toBe('VERSION_UNREADABLE');
  });
});

describe('the age of the key', () => {
  const SHARE: Plan['policy'] = { renewBefore: { share: 0.5 } };
  const PUT_BACK = { 4: key('k2') };
  const versions = [version(2), version(3), version(4)];
  /** When version 4, the newest, was created. */
  const NEWEST = NOW - 5 * DAY;

  const SAYS = { 4: key('k4', undefined, NOW - HOUR) };
  const TWICE = { 3: key('k2'), 4: key('k2') };
  const GONE = [version(2, 'DISABLED'), version(4)];
  const INVALID = { 2: '?', 3: '?' };
  const minimum: Plan['policy'] = { renewBefore: { minimumMs: HOUR } };
  const lifetime = { lifetimeMs: 30 * DAY };

  test.each<[string, Plan, number | undefined, number]>([
    ['when the key says it', { policy: SHARE, contents: SAYS }, NOW - HOUR, NEWEST],
    ['when a lifetime is configured', { policy: SHARE, secret: lifetime }, NOW - 20 * DAY, NEWEST],
  ])('is certain %s', async (_name, plan, issuedAt, storedSince) => {
    expect(await inspectIn(plan)).toMatchObject({ issuedAt, storedSince });
  });

  test.each<[string, Plan, number]>([
    ['an older version with the same key', { policy: SHARE, contents: PUT_BACK }, NOW - 7 * DAY],
    ['the oldest version with the same key', { policy: SHARE, contents: TWICE }, NOW - 7 * DAY],
    ["the version, if older ones don't contain the key", { policy: SHARE }, NEWEST],
    [
      "the version, if the older one can't be read any more",
      { versions: GONE, policy: SHARE, contents: PUT_BACK },
      NEWEST,
    ],
    ['the version, if older ones are invalid', { policy: SHARE, contents: INVALID }, NEWEST],
    ['the version, unlooked for, for a minimum', { policy: minimum, contents: PUT_BACK }, NEWEST],
    ['the version, unlooked for, when every run rotates', { contents: PUT_BACK }, NEWEST],
  ])('is at least that of %s', async (_name, plan, storedSince) => {
    const found = await inspectIn({ versions, ...plan });
    expect([found.issuedAt, found.storedSince]).toEqual([undefined, storedSince]);
  });

  test('is searched in five older versions at most, and no failure matters', async () => {
    const many = Array.from({ length: 12 }, (_, index) => version(index + 1));
    const memory = testBed({ versions: many }).environment.store;
    const read = new Set<number | 'latest'>();
    const access: SecretStore['access'] = (secret, number, limits) => {
      read.add(number);
      return number === 9 ? Promise.reject(STORE_REFUSES) : memory.access(secret, number, limits);
    };
    const found = await inspectIn({ versions: many, policy: SHARE, store: { access } });
    expect(found.issuedAt).toBeUndefined();
    expect([...read]).toEqual(['latest', 7, 8, 9, 10, 11]);
  });
});

describe('readNewestEnabled', () => {
  const read = async (plan: Plan) => {
    const stored = await readNewestEnabled(testBed(plan).begin());
    return stored && Buffer.from(stored.payload).toString();
  };

  const disabled = version(4, 'DISABLED');

  test.each<[string, Plan, string | undefined]>([
    ['returns the payload of latest', { contents: { 4: 'latest' } }, 'latest'],
    [
      'returns the newest enabled payload when latest is disabled',
      { versions: [version(3), disabled], contents: { 3: 'older' } },
      'older',
    ],
    ['returns nothing when no version is enabled', { versions: [disabled] }, undefined],
    ['returns nothing when the secret is empty', { versions: [] }, undefined],
  ])('%s', async (_name, plan, payload) => {
    expect(await read(plan)).toBe(payload);
  });

  test('fails with VERSION_UNREADABLE when the newest version is unreadable', async () => {
    const plan = { versions: [version(3), version(4)], unreadable: [4] };
    await expect(read(plan)).rejects.toMatchObject({ code: 'VERSION_UNREADABLE' });
  });

  test('retries transient failures for 30 s', async () => {
    const access = inTurn<Access>(UNAVAILABLE, payloadOf(4));
    expect(await read({ store: { access } })).toContain('k4');
    const { clock, begin } = testBed({ store: { access: inTurn<never>(UNAVAILABLE) } });
    await expect(readNewestEnabled(begin())).rejects.toBe(UNAVAILABLE);
    expect(clock.now()).toBeLessThanOrEqual(NOW + 30 * SECOND);
  });
});

test('drops a listed version that is neither readable nor there', async () => {
  const store = {
    access: inTurn(NOT_READABLE, NOT_READABLE, payloadOf(3)),
    get: inTurn<Version | undefined>(undefined),
  };
  const { newest } = await inspectIn({ versions: [version(3), version(4)], store });
  expect(newest?.number).toBe(3);
});

test('reports a version that is disabled and not readable by number as such, whatever latest shows', async () => {
  const store = { access: inTurn(NOT_READABLE) };
  expect(await blockerIn({ versions: [version(4, 'DISABLED')], store })).toBe('NO_ENABLED_VERSION');
});

describe('readAnother', () => {
  const versions = [3, 4, 5, 6].map((number) => version(number));
  const disabled = versions.with(1, version(4, 'DISABLED'));

  test.each<[string, Version[], number[], number | undefined]>([
    ['the newest version when it was added later', versions, [5], 6],
    ['an older version when the newest ones are excepted', versions, [6, 5], 4],
    ['no disabled version', disabled, [5, 6], 3],
    ['nothing when all versions are excepted', versions, [3, 4, 5, 6], undefined],
  ])('returns %s', async (_name, present, except, number) => {
    const found = await readAnother(testBed({ versions: present }).begin(), except);
    expect(found?.number).toBe(number);
  });
});
