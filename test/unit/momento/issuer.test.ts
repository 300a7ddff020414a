/** Sessions in front of the emulators, over real sockets. */
import { inspect } from 'node:util';
import { systemClock } from '../../../src/clock';
import { RotationError } from '../../../src/errors';
import { MomentoKeys, MomentoSession } from '../../../src/momento/issuer';
import { KeyApi, PRIORITY } from '../../../src/momento/key-api';
import { Sdk } from '../../../src/momento/sdk';
import type { RateLimiter, RateLimitedCall } from '../../../src/rate-limiter';
import type { Credential, ManagementKeySecret, NextKey, Secret } from '../../../src/rotation/ports';
import type { IssuedV2Key } from '../../../emulators/account';
import { startServices, type Services } from '../../../emulators/services';
import { DAY, HOUR, NOW, piecesIn, secretName, v1Key, version } from '../support';
import { inSeconds, limits, parse, SECRET, unlimited, v2Key } from './support';

const S: Secret = {
  ...secretName('projects/p/secrets/s'),
  payload: 'json',
  role: 'r-viewer',
  lifetimeMs: 10 * DAY,
};
const OWN = 'momento-key-rotator projects/p/secrets/s';
const MANAGEMENT = 'projects/p/secrets/management';
const REFRESHED: Secret = { ...S, role: undefined };

let now: number;
const clock = { ...systemClock, now: () => now };

let services: Services;
let sessions: MomentoSession[];
let manager: IssuedV2Key;

beforeEach(async () => {
  now = NOW;
  sessions = [];
  services = await startServices({ now: () => now });
  manager = services.momento.issueV2Key({ role: 'r-operator', description: 'by hand' });
});

afterEach(async () => {
  for (const session of sessions) session.close();
  await services.stop();
});

interface Options {
  /** Null for no management key. */
  readonly read?: ManagementKeySecret['read'] | null;
  readonly name?: string;
  readonly endpoint?: string;
  readonly limiter?: RateLimiter;
  readonly emulator?: string;
  readonly keyApiEmulator?: string;
}

function open(options: Options = {}): MomentoSession {
  const { name = MANAGEMENT, endpoint, limiter = unlimited() } = options;
  const { read = () => Promise.resolve(stored(manager.apiKey)) } = options;
  const { emulator = services.momento.host, keyApiEmulator = services.keyApi.host } = options;
  const session = new MomentoSession({
    sdk: new Sdk(clock, emulator),
    api: new KeyApi({ emulator: keyApiEmulator, limiter, clock, managementSecret: name }),
    endpoint,
    clock,
    managementKey: read === null ? undefined : { name, read },
  });
  sessions.push(session);
  return session;
}

const stored = (payload: string, number = 1) => ({ number, payload: Buffer.from(payload) });

const reading = (payload: string | object) => () =>
  Promise.resolve(stored(typeof payload === 'string' ? payload : JSON.stringify(payload)));

const called = (): string[] => services.keyApi.faults.calls.map(({ method }) => method);

const current = (payload: string | object) => ({ version: version(4), credential: parse(payload) });

/** A key with the description of the rotator's own. */
const own = (options: { role?: string; lifetimeSeconds?: number | 'never' } = {}): IssuedV2Key =>
  services.momento.issueV2Key({ description: OWN, ...options });

const all = (keyIds: readonly string[]): Promise<readonly string[]> => Promise.resolve(keyIds);

describe('the management key', () => {
  const v1 = { apiKey: v1Key(SECRET), refreshToken: 'token', validUntil: inSeconds(NOW + DAY) };

  test.each<[string, () => string | object]>([
    ['a bare key', () => `${manager.apiKey}\n`],
    ['console JSON', () => manager.consoleJson],
    ['API JSON', () => manager.apiJson],
  ])('is read from %s', async (_name, payload) => {
    const key = own();
    const session = open({ read: reading(payload()) });
    expect(await session.nextKey(S, undefined)).toMatchObject({ by: 'mint' });
    await session.revoke([key.keyInfo.key_id], all, limits());
    expect(services.momento.accepts(key.apiKey)).toBe(false);
  });

  const parts = { problem: 'Down.', action: 'Wait.' };
  const unavailable = new RotationError('SECRET_MANAGER_UNAVAILABLE', parts);

  test.each<[string, ManagementKeySecret['read'], string, string]>([
    ['is a v1 key', reading(v1), 'MANAGEMENT_KEY_INVALID', "isn't a v2 key"],
    ['is expired', reading(v2Key('k', NOW)), 'MANAGEMENT_KEY_INVALID', 'it expired at 2026-11-01'],
    ['has no id', reading(v2Key(undefined as never)), 'MANAGEMENT_KEY_INVALID', 'it has no id'],
    ['is another text', reading(SECRET), 'MANAGEMENT_KEY_INVALID', 'neither JSON nor a Momento'],
    ['is empty', reading(''), 'MANAGEMENT_KEY_INVALID', 'it is empty'],
    ["can't be read", () => Promise.reject(unavailable), 'SECRET_MANAGER_UNAVAILABLE', 'Down.'],
    ['fails', () => Promise.reject(new TypeError(SECRET)), 'INTERNAL', 'TypeError'],
  ])('blocks only the secrets that need it when it %s', async (_name, read, code, text) => {
    const session = open({ read });
    const blocker = (await session.nextKey(S, undefined)) as RotationError;
    expect(blocker).toMatchObject({ code });
    expect(blocker.problem).toContain(text);
    if (code === 'MANAGEMENT_KEY_INVALID') {
      expect(blocker.problem).toContain(MANAGEMENT);
      expect(blocker.action).toContain(MANAGEMENT);
    }
    expect(piecesIn(blocker.message, SECRET)).toEqual([]);
    await expect(session.revoke(['key-1'], all, limits())).rejects.toMatchObject({ code });
    await expect(session.ownKeys(S, limits())).rejects.toMatchObject({ code });
    expect(await session.nextKey(REFRESHED, current(v1))).toMatchObject({ by: 'refresh' });
  });

  test('is read once', async () => {
    let reads = 0;
    const session = open({
      read: () => {
        reads += 1;
        return Promise.resolve(stored(manager.apiKey));
      },
    });
    session.prepare();
    expect(reads).toBe(1);
    await Promise.all([session.nextKey(S, undefined), session.ownKeys(S, limits())]);
    expect(reads).toBe(1);
  });

  test('delays no secret that is refreshed', async () => {
    const session = open({ read: () => new Promise(() => undefined) });
    session.prepare();
    expect(await session.nextKey(REFRESHED, current(v1))).toMatchObject({ by: 'refresh' });
  });

  test('is forgotten when the session closes', async () => {
    const session = open();
    const late = (await session.nextKey(S, undefined)) as NextKey;
    session.close();
    await expect(late.issue(limits())).rejects.toMatchObject({ code: 'MANAGEMENT_KEY_REFUSED' });
    expect(services.keyApi.account.keys(OWN)).toEqual([]);
  });

  test('is that of the newest version whose key Momento accepts', async () => {
    const [refused, older] = [own(), own({ role: 'r-operator' })];
    services.keyApi.account.revoke(refused.keyInfo.key_id, 'operator');
    const versions = new Map([
      [7, stored(refused.apiKey, 7)],
      [6, stored('not a key', 6)],
      [5, stored(older.apiKey, 5)],
    ]);
    const read = jest.fn((tried: readonly number[]) =>
      Promise.resolve([...versions.values()].find(({ number }) => !tried.includes(number))),
    );
    const session = open({ read });
    const [listed, next] = await Promise.all([
      session.ownKeys(S, limits()),
      session.nextKey(S, undefined),
    ]);
    await (next as NextKey).issue(limits());
    expect(listed.managementKeyId).toBe(older.keyInfo.key_id);
    expect(listed.warnings).toEqual([
      `Momento rejected the management key in version 7 of ${MANAGEMENT}, so the key in version 5 was used`,
    ]);
    expect(read).toHaveBeenCalledTimes(3);
  });

  test("isn't replaced by an older one when its role can't manage keys", async () => {
    const newest = own({ role: 'r-viewer' });
    const read = (tried: readonly number[]) =>
      Promise.resolve(tried.length === 0 ? stored(newest.apiKey, 2) : stored(manager.apiKey));
    const listed = open({ read }).ownKeys(S, limits());
    await expect(listed).rejects.toMatchObject({ code: 'MANAGEMENT_KEY_REFUSED', httpStatus: 403 });
  });

  test('is invalid when its secret has no enabled version', async () => {
    const session = open({ read: () => Promise.resolve(undefined) });
    await expect(session.ownKeys(S, limits())).rejects.toMatchObject({
      code: 'MANAGEMENT_KEY_INVALID',
      problem: `The management key in ${MANAGEMENT} can't be used: the secret has no enabled version.`,
    });
  });

  test('is refused when Momento refuses the key of every version', async () => {
    services.keyApi.account.revoke(manager.keyInfo.key_id, 'operator');
    const read = (tried: readonly number[]) =>
      Promise.resolve(tried.length === 0 ? stored(manager.apiKey) : undefined);
    const session = open({ read });
    for (let call = 0; call < 2; call += 1) {
      const listed = session.ownKeys(S, limits());
      await expect(listed).rejects.toMatchObject({ code: 'MANAGEMENT_KEY_REFUSED' });
    }
  });

  test('is required to list and revoke keys', async () => {
    await expect(open({ read: null }).ownKeys(S, limits())).rejects.toThrow(TypeError);
  });
});

describe("the rotator's own keys", () => {
  test('are unexpired, have the description, and are not the management key', async () => {
    services.keyApi.expiredKeys = 'listed';
    manager = own({ role: 'r-operator' });
    own({ lifetimeSeconds: 3600 });
    now += HOUR;
    const keys = [own(), own({ lifetimeSeconds: 'never' })];
    for (const description of [`${OWN}2`, `${OWN} `, OWN.toUpperCase(), '']) {
      services.momento.issueV2Key({ description });
    }
    const expected = keys.map(({ keyInfo }) => ({ keyId: keyInfo.key_id, issuedAt: NOW + HOUR }));
    const managementKeyId = manager.keyInfo.key_id;
    expect(await open().ownKeys(S, limits())).toEqual({
      keys: expected,
      managementKeyId,
      skipped: 0,
      warnings: [],
    });
  });

  test('have the number of entries that could not be read', async () => {
    const key = own();
    services.keyApi.faults.inject('ListKeys', 1, {
      kind: 'rewrite',
      rewrite: (body) => {
        const { key_info } = JSON.parse(body) as { key_info: object[] };
        return { body: JSON.stringify({ key_info: [{ key_id: 7 }, ...key_info, null] }) };
      },
    });
    const { keys, skipped, warnings } = await open().ownKeys(S, limits());
    expect(keys).toMatchObject([{ keyId: key.keyInfo.key_id }]);
    expect(skipped).toBe(2);
    expect(warnings).toEqual([
      "2 entries of the account's list of keys couldn't be read, and were skipped",
    ]);
  });

  test('are listed once for all callers, and again after a failure', async () => {
    services.keyApi.faults.inject('ListKeys', 1, { kind: 'status', status: 503, when: 'before' });
    const session = open();
    const list = () => session.ownKeys(S, limits());
    const first = await Promise.allSettled([list(), list()]);
    expect(first.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(called()).toEqual(['ListKeys']);
    await Promise.all([list(), list()]);
    await list();
    expect(called()).toEqual(['ListKeys', 'ListKeys']);
  });
});

describe('the state in the list', () => {
  const state = (key: IssuedV2Key, options?: Options) =>
    open(options).listedState(parse(key.apiJson), limits());

  test('is valid, expired or absent', async () => {
    services.keyApi.expiredKeys = 'listed';
    const key = own({ lifetimeSeconds: 3600 });
    expect(await state(key)).toBe('valid');
    now += HOUR;
    expect(await state(key)).toBe('expired');
    services.momento.revoke(key.apiKey);
    expect(await state(key)).toBe('absent');
    const never = own({ lifetimeSeconds: 'never' });
    expect(await state(never)).toBe('valid');
  });

  test('is unknown without a management key that lists keys', async () => {
    const key = own();
    expect(await state(key, { read: null })).toBe('unknown');
    expect(await state(key, { read: reading('') })).toBe('unknown');
    expect(await state(key, { keyApiEmulator: '127.0.0.1:1' })).toBe('unknown');
    const v1 = parse(services.momento.issueKey().consoleJson);
    expect(await open().listedState(v1, limits())).toBe('unknown');
  });

  test('follows from the verification of the key when it is missing and an entry was skipped', async () => {
    const [present, revoked, skipped] = [own(), own(), own()];
    services.momento.revoke(revoked.apiKey);
    services.keyApi.faults.inject('ListKeys', 'every', {
      kind: 'rewrite',
      rewrite: (body) => ({ body: body.replace(skipped.keyInfo.key_id, '') }),
    });
    expect(await state(present)).toBe('valid');
    expect(await state(revoked)).toBe('absent');
    expect(await state(skipped)).toBe('unknown');
  });
});

describe('the verification of a new key', () => {
  const verify = (credential: Credential, options?: Options) =>
    open(options).verifyNew(credential, limits());
  const keyApi = () => ({ host: services.keyApi.host, byIssuer: true });
  const momento = () => ({ host: services.momento.host });

  test('uses the key API when a v2 key has no endpoint', async () => {
    const key = own();
    const credential = parse(key.apiKey);
    expect(await verify(credential)).toEqual({ verdict: 'accepted' });
    services.momento.revoke(key.apiKey);
    expect(await verify(credential)).toEqual({ verdict: 'rejected', ...keyApi() });
  });

  test.each<[string, (key: IssuedV2Key) => Credential, Options]>([
    ['in its payload', (key) => parse(key.consoleJson), {}],
    ['in the configuration', (key) => parse(key.apiJson), { endpoint: 'cell-1.example.com' }],
  ])('uses the endpoint %s, which can be the wrong one', async (_name, read, options) => {
    const key = own();
    const wrong = { ...options, keyApiEmulator: '127.0.0.1:1' };
    expect(await verify(read(key), wrong)).toEqual({ verdict: 'accepted' });
    services.momento.revoke(key.apiKey);
    const rejected = { verdict: 'rejected', ...momento(), byIssuer: false };
    expect(await verify(read(key), wrong)).toEqual(rejected);
  });

  test('uses the host in a v1 key', async () => {
    const key = services.momento.issueKey();
    expect(await verify(parse(key.consoleJson))).toEqual({ verdict: 'accepted' });
    services.momento.revoke(key.apiKey);
    const rejected = { verdict: 'rejected', ...momento(), byIssuer: true };
    expect(await verify(parse(key.consoleJson))).toEqual(rejected);
  });

  test('is inconclusive, with host and cause, when nothing answers', async () => {
    const problem = "127.0.0.1:1 couldn't be reached (ECONNREFUSED)";
    const nowhere = { emulator: '127.0.0.1:1', keyApiEmulator: '127.0.0.1:1' };
    for (const { apiKey, consoleJson } of [own(), services.momento.issueKey()]) {
      for (const payload of [apiKey, consoleJson]) {
        expect(await verify(parse(payload), nowhere)).toEqual({ verdict: 'inconclusive', problem });
      }
    }
  });

  test('is inconclusive when its time is over', async () => {
    const over = { deadline: clock.monotonic() - 1 };
    for (const payload of [own().apiKey, services.momento.issueKey().consoleJson]) {
      expect((await open().verifyNew(parse(payload), over)).verdict).toBe('inconclusive');
    }
  });

  test('fails for credentials of another source', () => {
    expect(() => open().verifyNew({} as Credential, limits())).toThrow(TypeError);
  });
});

describe('a new management key', () => {
  const name = S.name;

  async function issued(secret: Secret, options: Options): Promise<[MomentoSession, Credential]> {
    const session = open(options);
    const next = (await session.nextKey(secret, current(manager.apiJson))) as NextKey;
    return [session, (await next.issue(limits())).credential];
  }

  test.each<[string, () => Options]>([
    ['by its name', () => ({ name, read: reading(manager.apiJson) })],
    // The same secret under another name: project id and number.
    ['by its key', () => ({})],
  ])('is verified by listing keys, if its secret is known %s', async (_name, options) => {
    const [useless, rejected] = await issued({ ...S, role: 'r-viewer' }, options());
    const expected = { verdict: 'rejected', host: services.keyApi.host, byIssuer: true };
    expect(await useless.verifyNew(rejected, limits())).toEqual(expected);
    const [useful, accepted] = await issued({ ...S, role: 'r-operator' }, options());
    expect(await useful.verifyNew(accepted, limits())).toEqual({ verdict: 'accepted' });
  });

  test('is verified by listing keys even if its payload has an endpoint', async () => {
    const session = open({ name });
    const next = (await session.nextKey(S, current(manager.consoleJson))) as NextKey;
    const { credential } = await next.issue(limits());
    expect(await session.verifyNew(credential, limits())).toMatchObject({ verdict: 'rejected' });
  });

  test('does not change how the keys of other secrets are verified', async () => {
    const session = open();
    const next = (await session.nextKey(S, current(own().apiJson))) as NextKey;
    const { credential } = await next.issue(limits());
    expect(await session.verifyNew(credential, limits())).toEqual({ verdict: 'accepted' });
  });
});

describe('the verification of the newest keys', () => {
  test('takes one list for all keys without an endpoint', async () => {
    const session = open();
    const keys = [own(), own(), own()];
    const verdicts = await Promise.all(
      keys.map(({ apiKey }) => session.verifyNewest(parse(apiKey), limits())),
    );
    expect(verdicts).toEqual(keys.map(() => ({ verdict: 'accepted' })));
    expect(called()).toEqual(['ListKeys']);
  });

  test('uses the key itself if the list has no valid key', async () => {
    services.keyApi.expiredKeys = 'listed';
    const [revoked, expired, lagging] = [own(), own({ lifetimeSeconds: 3600 }), own()];
    services.momento.revoke(revoked.apiKey);
    now += HOUR;
    services.keyApi.faults.inject('ListKeys', 1, {
      kind: 'rewrite',
      rewrite: () => ({ body: '{"key_info":[]}' }),
    });
    const session = open();
    const verify = ({ apiKey }: IssuedV2Key) => session.verifyNewest(parse(apiKey), limits());
    const rejected = { verdict: 'rejected', host: services.keyApi.host, byIssuer: true };
    expect(await verify(revoked)).toEqual(rejected);
    expect(await verify(expired)).toEqual(rejected);
    expect(await verify(lagging)).toEqual({ verdict: 'accepted' });
    expect(called()).toHaveLength(4);
  });

  test.each<[string, Options]>([
    ['there is no management key', { read: null }],
    ['the management key is invalid', { read: reading('') }],
  ])('uses the key itself if %s', async (_name, options) => {
    const key = own();
    const session = open(options);
    const verify = () => session.verifyNewest(parse(key.apiKey), limits());
    expect(await verify()).toEqual({ verdict: 'accepted' });
    services.momento.revoke(key.apiKey);
    expect(await verify()).toMatchObject({ verdict: 'rejected', byIssuer: true });
  });

  test('uses the endpoint if there is one', async () => {
    const verdict = await open().verifyNewest(parse(own().consoleJson), limits());
    expect(verdict).toEqual({ verdict: 'accepted' });
    expect(called()).toEqual([]);
  });
});

describe('a revocation', () => {
  test('waits once for all keys, and rechecks them right before', async () => {
    const events: unknown[] = [];
    const acquire = (call: RateLimitedCall) => Promise.resolve(events.push(call));
    const beginNow = (at: number, slots: number) => void events.push({ at, slots });
    const session = open({ limiter: { acquire, beginNow } as unknown as RateLimiter });
    const keys = [own(), own(), own()];
    const [kept = '', ...others] = keys.map(({ keyInfo: { key_id } }) => key_id);
    const deadline = limits();
    const recheck = (keyIds: readonly string[]) => {
      events.push(keyIds, called());
      return Promise.resolve(others);
    };
    const revoked = await session.revoke([kept, ...others], recheck, deadline);
    const slots = { priority: PRIORITY.revoke, slots: 3, ...deadline };
    expect(events).toEqual([slots, [kept, ...others], [], { at: 1, slots: 3 }]);
    expect(revoked).toEqual(new Map(others.map((keyId) => [keyId, true])));
    const accepted = keys.map(({ apiKey }) => services.momento.accepts(apiKey));
    expect(accepted).toEqual([true, false, false]);
  });

  test('never revokes the management key in use, or a key that was not requested', async () => {
    const key = own();
    const ids = [manager.keyInfo.key_id];
    const anything = () => Promise.resolve([...ids, key.keyInfo.key_id]);
    expect(await open().revoke(ids, anything, limits())).toEqual(new Map());
    expect(await open().revoke([], anything, limits())).toEqual(new Map());
    expect([manager, key].every(({ apiKey }) => services.momento.accepts(apiKey))).toBe(true);
    expect(called()).toEqual([]);
  });

  test('has a result for each key', async () => {
    const keys = [own(), own(), own(), own()];
    const ids = keys.map(({ keyInfo: { key_id } }) => key_id);
    services.momento.revoke(keys[0]?.apiKey ?? '');
    const statuses = [undefined, 429, 503, 400];
    services.keyApi.faults.intercept = ({ method, request }, when) => {
      const { id } = (request as { parts: { id: string } }).parts;
      const status = method === 'RevokeKey' ? statuses[ids.indexOf(id)] : undefined;
      if (status === undefined || when === 'after') return;
      return { kind: 'status', status, when };
    };
    const results = await open().revoke(ids, all, limits());
    const codes = ids.map((id) => (results.get(id) as Partial<RotationError> | undefined)?.code);
    const UNAVAILABLE = 'MOMENTO_UNAVAILABLE';
    expect(codes).toEqual([undefined, 'MOMENTO_LIMIT_EXCEEDED', UNAVAILABLE, UNAVAILABLE]);
    expect(results.get(ids[0] ?? '')).toBe(true);
  });

  test('fails before the recheck if its turn would come too late', async () => {
    const recheck = jest.fn(all);
    const over = { deadline: clock.monotonic() - 1 };
    await expect(open().revoke(['key-1'], recheck, over)).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    expect(recheck).not.toHaveBeenCalled();
  });
});

describe('MomentoKeys', () => {
  test('shares the rate of the account among its sessions', async () => {
    const { momento, keyApi } = services;
    const keys = new MomentoKeys({ emulator: momento.host, keyApiEmulator: keyApi.host, clock });
    const read = reading(manager.apiKey);
    const [one, two] = [0, 1].map(() => keys.open({ name: MANAGEMENT, read }));
    if (one === undefined || two === undefined) throw new Error('no sessions');
    sessions.push(one, two);
    const soon = { deadline: clock.monotonic() + 900 };
    const credential = keys.parse(Buffer.from(own().apiKey));
    const verdicts = await Promise.all(
      [one, two, one, two, one, two].map((session) => session.verifyNew(credential, soon)),
    );
    // Five in 1.1 s: the sixth would come after its deadline.
    const expected = [...Array<string>(5).fill('accepted'), 'inconclusive'];
    expect(verdicts.map(({ verdict }) => verdict)).toEqual(expected);
    expect(called()).toHaveLength(5);
  });

  test('prints no secret', () => {
    const session = open();
    const text = inspect([session, parse(manager.apiJson)], { depth: null, showHidden: true });
    for (const secret of [manager.apiKey, manager.refreshToken ?? '']) {
      expect(text.includes(secret)).toBe(false);
    }
  });
});
