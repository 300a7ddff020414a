import { RotationError } from '../../../src/errors';
import { gather, readNewestEnabled } from '../../../src/rotation/gather';
import type { Permission, SecretStore, StoredPayload, Version } from '../../../src/rotation/ports';
import { inTurn, NOW, SECOND, version } from '../support';
import { error, key, QUOTA, scene, STORE_REFUSES, UNAVAILABLE, type Plan } from './scene';

const ALL: Permission[] = ['access', 'list', 'add', 'disable'];

function lookAt(plan: Plan = {}) {
  return gather(scene(plan).begin(), ALL);
}

/** What stands in the way of the next key. */
async function obstacle(plan: Plan): Promise<string | undefined> {
  const { next } = await lookAt(plan);
  return next instanceof RotationError ? next.code : undefined;
}

test('finds the newest version, the key in it, and how its successor is got', async () => {
  const found = await lookAt();
  expect(found).toMatchObject({
    newest: { number: 4 },
    enabled: { number: 4 },
    current: { version: { number: 4 }, credential: { fingerprint: 'k4' } },
    missing: [],
    next: { by: 'refresh' },
  });
  expect(found.versions).toHaveLength(2);
  expect(found).not.toHaveProperty('warning');
});

describe('what keeps it from looking is thrown', () => {
  const lacks = (...permissions: Permission[]): Partial<SecretStore> => ({
    missingPermissions: inTurn(permissions),
  });

  test.each<[string, Partial<SecretStore>, string]>([
    ['a corrupt payload', { access: inTurn<never>(error('PAYLOAD_CORRUPT')) }, 'PAYLOAD_CORRUPT'],
    ['no list', { list: inTurn<never>(STORE_REFUSES) }, 'SECRET_MANAGER_REFUSED'],
    ['no quota', { list: inTurn<never>(QUOTA) }, 'SECRET_MANAGER_QUOTA_EXCEEDED'],
    [
      'no answer about permissions',
      { missingPermissions: inTurn<never>(UNAVAILABLE) },
      UNAVAILABLE.code,
    ],
    [
      'a missing permission, rather than the call that needed it',
      { ...lacks('access'), access: inTurn<never>(STORE_REFUSES) },
      'PERMISSION_MISSING',
    ],
    [
      'no such secret, of which all permissions are missing',
      {
        ...lacks(...ALL),
        access: inTurn(undefined),
        list: inTurn<never>(error('SECRET_NOT_FOUND')),
      },
      'SECRET_NOT_FOUND',
    ],
  ])('%s', async (_name, store, code) => {
    await expect(lookAt({ store })).rejects.toMatchObject({ code });
  });

  test('a fault at once', async () => {
    const { clock, begin } = scene({ store: { list: inTurn<never>(new TypeError('planted')) } });
    await expect(gather(begin(), ALL)).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(clock.now()).toBe(NOW);
  });

  test('an outage only when it lasts', async () => {
    const list = inTurn<Version[]>(UNAVAILABLE, UNAVAILABLE, [version(4)]);
    expect((await lookAt({ store: { list } })).newest?.number).toBe(4);
  });
});

describe('what stands in the way of the next key is noted', () => {
  test.each<[string, Plan, string]>([
    [
      'a missing permission',
      { store: { missingPermissions: inTurn<Permission[]>(['disable']) } },
      'PERMISSION_MISSING',
    ],
    ['no version', { versions: [] }, 'NO_VERSION'],
    [
      'no enabled version',
      { versions: [version(1, 'DESTROYED'), version(2, 'DISABLED')] },
      'NO_ENABLED_VERSION',
    ],
    [
      'no enabled version, also where a first key would be minted',
      { versions: [version(2, 'DISABLED')], secret: { role: 'r' } },
      'NO_ENABLED_VERSION',
    ],
    ['a payload that is no credential', { holds: { 4: '?' } }, 'PAYLOAD_INVALID'],
    [
      'a key that cannot be renewed',
      { renewal: error('KEY_NOT_REFRESHABLE') },
      'KEY_NOT_REFRESHABLE',
    ],
  ])('%s', async (_name, plan, code) => {
    expect(await obstacle(plan)).toBe(code);
  });

  test('and the versions are known all the same', async () => {
    const found = await lookAt({ holds: { 4: '?' } });
    expect(found).toMatchObject({ newest: { number: 4 }, enabled: { number: 4 } });
    expect(found).not.toHaveProperty('current');
  });

  test('what is missing is named', async () => {
    const missing: Permission[] = ['add', 'disable'];
    const found = await lookAt({ store: { missingPermissions: inTurn(missing) } });
    expect(found.missing).toEqual(missing);
    expect((found.next as RotationError).message).toContain('add, disable');
  });
});

test('an empty secret with a role gets its first key', async () => {
  const found = await lookAt({ versions: [], secret: { role: 'r' } });
  expect(found).toMatchObject({ versions: [], missing: [], next: { by: 'refresh' } });
  expect(Object.keys(found).toSorted()).toEqual(['missing', 'next', 'versions']);
});

test('a look that changes nothing asks for no permission', async () => {
  const store = { missingPermissions: inTurn<never>(STORE_REFUSES) };
  expect((await gather(scene({ store }).begin(), [])).missing).toEqual([]);
});

test('the management key is read meanwhile', async () => {
  const { begin, calls } = scene({
    session: { prepare: () => void calls.push('prepare') },
    store: {
      access: () => {
        calls.push('access');
        return Promise.resolve(undefined);
      },
    },
  });
  await gather(begin(), []);
  expect(calls.slice(0, 2)).toEqual(['prepare', 'access']);
});

describe('a newest version that readers cannot read', () => {
  test.each(['DISABLED', 'DESTROYED'] as const)(
    '%s: the newest enabled one is used',
    async (state) => {
      const found = await lookAt({ versions: [version(2), version(3), version(4, state)] });
      expect(found).toMatchObject({
        newest: { number: 4, state },
        enabled: { number: 3 },
        current: { credential: { fingerprint: 'k3' } },
      });
      expect(found.warning).toBe(
        `version 4 is the newest but ${state.toLowerCase()}: readers of latest fail until a version is added; version 3 is ` +
          'used instead',
      );
    },
  );

  test('is warned of also when there is no other', async () => {
    const { warning } = await lookAt({ versions: [version(4, 'DISABLED')] });
    expect(warning).toContain('version 4 is the newest but disabled: readers of latest fail');
  });
});

describe('latest and lists may lag behind', () => {
  const holds = (number: number) => ({ number, payload: key(`k${number}`).serialize() });
  /** Answers for `latest` and for numbers: the number of the version that opens. */
  const opens =
    (latest: number | undefined, numbers: number[]): SecretStore['access'] =>
    (_, wanted) => {
      const number = wanted === 'latest' ? latest : numbers.find((each) => each === wanted);
      return Promise.resolve(number === undefined ? undefined : holds(number));
    };

  test.each<[string, Version[], SecretStore['access'], number, number | undefined]>([
    ['a version that no list shows is the newest', [version(4)], opens(5, []), 5, 5],
    [
      'one that opens is enabled, whatever the list says',
      [version(4, 'DISABLED')],
      opens(4, []),
      4,
      4,
    ],
    [
      'when latest lags, the newest of the list counts',
      [version(3), version(4)],
      opens(3, [4]),
      4,
      4,
    ],
    [
      'one that does not open is not enabled',
      [version(3), version(4)],
      opens(undefined, [3]),
      4,
      3,
    ],
    ['if none opens, none is', [version(3), version(4)], opens(undefined, []), 4, undefined],
  ])('%s', async (_name, versions, access, newest, current) => {
    const found = await lookAt({ versions, store: { access } });
    expect(found.newest?.number).toBe(newest);
    expect(found.current?.version.number).toBe(current);
    expect(found.current?.credential.fingerprint).toBe(current && `k${current}`);
    expect(found.warning === undefined).toBe(newest === current);
  });

  test('a version that no list shows was created just now, and is known to be unlisted', async () => {
    const { newest } = await lookAt({ store: { access: opens(5, []) } });
    expect(newest).toEqual({ number: 5, state: 'ENABLED', createdAt: NOW, unlisted: true });
  });
});

describe('a secret that is only read', () => {
  const read = async (plan: Plan) => {
    const { begin } = scene(plan);
    return (await readNewestEnabled(begin()))?.toString();
  };

  test.each<[string, Plan, string | undefined]>([
    ['gives what latest holds', { holds: { 4: 'latest' } }, 'latest'],
    [
      'or the newest enabled version',
      { versions: [version(3), version(4, 'DISABLED')], holds: { 3: 'older' } },
      'older',
    ],
    ['or nothing', { versions: [version(4, 'DISABLED')] }, undefined],
    ['and nothing of an empty one', { versions: [] }, undefined],
  ])('%s', async (_name, plan, payload) => {
    expect(await read(plan)).toBe(payload);
  });

  test('is tried again while it fails for a passing reason', async () => {
    const access = inTurn<StoredPayload>(UNAVAILABLE, {
      number: 4,
      payload: Buffer.from('payload'),
    });
    expect(await read({ store: { access } })).toBe('payload');
    const { clock, begin } = scene({ store: { access: inTurn<never>(UNAVAILABLE) } });
    await expect(readNewestEnabled(begin())).rejects.toBe(UNAVAILABLE);
    expect(clock.now()).toBeLessThanOrEqual(NOW + 30 * SECOND);
  });
});
