import { once } from 'node:events';
import type { Socket } from 'node:net';
import { DAY, HOUR } from '../../src/duration';
import { request, type IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { inspect } from 'node:util';
import {
  AuthClient,
  AuthClientConfigurations,
  CacheClient,
  Configurations,
  CredentialProvider,
  NoopMomentoLoggerFactory,
} from '@gomomento/sdk';
import { ENDPOINT, type KeyInfo } from '../../emulators/account';
import type { Fault } from '../../emulators/faults';
import type { KeyApiEmulator } from '../../emulators/key-api';
import type { MomentoEmulator } from '../../emulators/momento';
import { startServices, type Services } from '../../emulators/services';

const START = Date.UTC(2026, 7, 1, 12, 0, 0, 250);
const START_S = Math.floor(START / 1000);
const DAY_S = DAY / 1000;
const DESCRIPTION = 'momento-key-rotator projects/p/secrets/s';

interface Answer {
  status: number;
  body: Record<string, unknown>;
  headers: IncomingMessage['headers'];
}

interface Minted {
  api_key: string;
  refresh_token?: string;
  key_info: KeyInfo;
  previous_key_id?: string;
}

interface Page {
  key_info: KeyInfo[];
  next_token?: string;
}

let services: Services;
let keyApi: KeyApiEmulator;
let momento: MomentoEmulator;
/** The key of somebody who may manage keys. */
let manager: string;

beforeEach(async () => {
  services = await startServices({ now: () => START });
  ({ keyApi, momento } = services);
  manager = momento.issueV2Key({ role: 'r-operator', description: 'management' }).apiKey;
});

afterEach(() => services.stop());

const setTime = (ms: number): void => {
  momento.now = () => ms;
};

async function call(
  method: string,
  path: string,
  {
    authorization = manager,
    type = 'application/json',
    body,
  }: { authorization?: string | string[]; type?: string | undefined; body?: unknown } = {},
): Promise<Answer> {
  const keys = [authorization].flat().flatMap((key) => ['Authorization', key]);
  const sent = request(`http://${keyApi.host}${path}`, {
    method,
    headers: ['Host', keyApi.host, 'Content-Type', type, ...keys],
  });
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const { statusCode = 0, headers } = response;
  return { status: statusCode, body: (await json(response)) as Answer['body'], headers };
}

const terms = {
  role_id: 'r-viewer',
  description: DESCRIPTION,
  expiry: START_S + 30 * DAY_S,
  exclude_refresh_token: true,
};

const create = (body: unknown = terms, authorization = manager): Promise<Answer> =>
  call('POST', '/api-keys', { body, authorization });

const list = (query = '', authorization = manager): Promise<Answer> =>
  call('GET', `/api-keys${query}`, { authorization });

const revoke = (id: string, authorization = manager): Promise<Answer> =>
  call('DELETE', `/api-keys/${id}`, { authorization });

const refresh = (authorization: string, body: unknown = {}): Promise<Answer> =>
  call('POST', keyApi.refreshPath, { authorization, body });

/** The answer to a call that has to go well. */
async function good<T>(answer: Promise<Answer>): Promise<T> {
  const { status, body } = await answer;
  expect({ status, body }).toMatchObject({ status: 200 });
  return body as T;
}

const listed = async (): Promise<string[]> =>
  (await good<Page>(list())).key_info.map(({ key_id }) => key_id);

const claimsOf = (jwt = ''): unknown =>
  JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString());

const BAD_REQUEST = { status: 400, body: { code: 'Bad Request' } };
const UNAUTHENTICATED = { status: 401, body: { code: 'Unauthenticated' } };
const DENIED = { status: 403, body: { code: 'PermissionDenied' } };
const NOT_FOUND = { status: 404, body: { code: 'NotFound' } };

describe('who may call', () => {
  const calls = {
    create: (authorization: string) => create(terms, authorization),
    list: (authorization: string) => list('', authorization),
    revoke: (authorization: string) => revoke('none', authorization),
  };

  it.each(['r-owner', 'r-operator'])('%s', async (role) => {
    const { apiKey } = momento.issueV2Key({ role });
    expect(await calls.create(apiKey)).toMatchObject({ status: 200 });
    expect(await calls.list(apiKey)).toMatchObject({ status: 200 });
    expect(await calls.revoke(apiKey)).toMatchObject(NOT_FOUND);
  });

  it.each(['r-viewer', 'r-data'])('not %s', async (role) => {
    momento.account.roles.set('r-data', { keys: [], caches: 'data-only' });
    const { apiKey } = momento.issueV2Key({ role });
    for (const use of Object.values(calls)) expect(await use(apiKey)).toMatchObject(DENIED);
  });

  it('what the role allows', async () => {
    momento.account.roles.set('r-auditor', { keys: ['list'], caches: 'data-only' });
    const { apiKey } = momento.issueV2Key({ role: 'r-auditor' });
    expect(await calls.list(apiKey)).toMatchObject({ status: 200 });
    expect(await calls.create(apiKey)).toMatchObject(DENIED);
    expect(await calls.revoke(apiKey)).toMatchObject(DENIED);
  });

  it.each<[string, () => string | string[]]>([
    ['nobody', () => []],
    ['somebody without a key', () => ''],
    ['a Bearer', () => `Bearer ${manager}`],
    ['a key twice', () => [manager, manager]],
    ['a v1 key', () => momento.issueKey().apiKey],
    ['a legacy key', () => momento.issueKey({ format: 'legacy' }).apiKey],
    ['a refresh token', () => momento.issueV2Key({ role: 'r-owner' }).refreshToken ?? ''],
    ['an unknown key', () => `${manager.slice(0, -6)}abcdef`],
    [
      'an expired key',
      () => {
        const { apiKey } = momento.issueV2Key({ role: 'r-owner', lifetimeSeconds: 60 });
        setTime(START + 60_000);
        return apiKey;
      },
    ],
    [
      'a revoked key',
      () => {
        const { apiKey } = momento.issueV2Key({ role: 'r-owner' });
        momento.revoke(apiKey);
        return apiKey;
      },
    ],
  ])('not %s', async (_, key) => {
    const authorization = key();
    const before = keyApi.account.keys().length;
    for (const [method, path, body] of [
      ['POST', '/api-keys', terms],
      ['GET', '/api-keys', undefined],
      ['DELETE', '/api-keys/none', undefined],
    ] as const) {
      const answer = await call(method, path, { authorization, body });
      expect(answer).toMatchObject(UNAUTHENTICATED);
      expect(answer.body.message).toEqual(expect.any(String));
    }
    expect(keyApi.account.keys()).toHaveLength(before);
  });
});

describe('making a key', () => {
  it('answers a bare token, and what is known of it', async () => {
    const minted = await good<Minted>(create());
    expect(minted).toEqual({
      api_key: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/) as string,
      key_info: {
        key_id: expect.any(String) as string,
        account_id: expect.any(String) as string,
        description: DESCRIPTION,
        role_id: 'r-viewer',
        issued_at_epoch_seconds: START_S,
        expires_at_epoch_seconds: terms.expiry,
      },
    });
    const { key_id: jti } = minted.key_info;
    expect(claimsOf(minted.api_key)).toEqual({ t: 'g', jti, exp: terms.expiry });
    const again = await good<Minted>(create());
    expect(again.api_key).not.toBe(minted.api_key);
    expect(again.key_info.key_id).not.toBe(jti);
  });

  it.each([
    ['by default', { exclude_refresh_token: undefined }, true],
    ['where it is wanted', { exclude_refresh_token: false }, true],
    ['not where it is declined', { exclude_refresh_token: true }, false],
    ['not where the key never expires', { exclude_refresh_token: false, expiry: 'never' }, false],
  ])('gives a refresh token: %s', async (_, more, given) => {
    const minted = await good<Minted>(create({ ...terms, ...more }));
    const { key_id: akid, expires_at_epoch_seconds: exp } = minted.key_info;
    expect('refresh_token' in minted).toBe(given);
    if (given) expect(claimsOf(minted.refresh_token)).toEqual({ t: 'gr', akid, exp });
  });

  it('makes keys that never expire', async () => {
    const { api_key, key_info } = await good<Minted>(create({ ...terms, expiry: 'never' }));
    expect(key_info).not.toHaveProperty('expires_at_epoch_seconds');
    expect(claimsOf(api_key)).toEqual({ t: 'g', jti: key_info.key_id });
    setTime(START + 10_000 * DAY);
    expect(momento.accepts(api_key)).toBe(true);
  });

  it.each<[string, unknown]>([
    ['no body', undefined],
    ['a list', [terms]],
    ['null', null],
    ['a string', 'terms'],
    ['no role', { ...terms, role_id: undefined }],
    ['no description', { ...terms, description: undefined }],
    ['no expiry', { ...terms, expiry: undefined }],
    ['a role that is a number', { ...terms, role_id: 1 }],
    ['a description that is null', { ...terms, description: null }],
    ['another word for an expiry', { ...terms, expiry: 'tomorrow' }],
    ['an expiry that is a string', { ...terms, expiry: String(terms.expiry) }],
    ['an expiry that is a fraction', { ...terms, expiry: terms.expiry + 0.5 }],
    ['an expiry now', { ...terms, expiry: START_S }],
    ['a word in the place of a boolean', { ...terms, exclude_refresh_token: 'yes' }],
    ['an unknown field', { ...terms, name: 's' }],
    ['the name of a method', { ...terms, toString: 's' }],
  ])('refuses %s', async (_, body) => {
    expect(await call('POST', '/api-keys', { body })).toMatchObject(BAD_REQUEST);
    expect(keyApi.account.keys(DESCRIPTION)).toEqual([]);
  });

  it('refuses another content type, queries, unknown roles and paths', async () => {
    const mint = (path: string, type?: string) => call('POST', path, { body: terms, type });
    expect(await mint('/api-keys', 'text/plain')).toMatchObject(BAD_REQUEST);
    expect(await mint('/api-keys?dry_run=true')).toMatchObject(BAD_REQUEST);
    expect(await mint('/v1/api-keys')).toMatchObject({ status: 404 });
    expect(await mint('/api-keys/')).toMatchObject({ status: 404 });
    expect(await create({ ...terms, role_id: 'r-abcdefg' })).toMatchObject(NOT_FOUND);
    expect(keyApi.account.keys(DESCRIPTION)).toEqual([]);
    expect(await mint('/api-keys', 'application/json; charset=utf-8')).toMatchObject({
      status: 200,
    });
  });

  it('refuses what is too long, where a test sets limits', async () => {
    keyApi.limits = { descriptionLength: DESCRIPTION.length, lifetimeSeconds: 30 * DAY_S };
    expect(await create()).toMatchObject({ status: 200 });
    expect(await create({ ...terms, description: `${DESCRIPTION}s` })).toMatchObject(BAD_REQUEST);
    expect(await create({ ...terms, expiry: terms.expiry + 1 })).toMatchObject(BAD_REQUEST);
    expect(await create({ ...terms, expiry: 'never' })).toMatchObject(BAD_REQUEST);
  });
});

describe('listing keys', () => {
  it('tells of every key that there is, and never the key itself', async () => {
    const { keyInfo } = momento.issueV2Key({ role: 'r-owner', lifetimeSeconds: 'never' });
    const { key_info: minted } = await good<Minted>(create());
    const answer = await good<Page>(list());
    expect(answer).toEqual({
      key_info: [
        expect.objectContaining({ role_id: 'r-operator', description: 'management' }),
        keyInfo,
        minted,
      ],
    });
    expect(momento.secrets().filter((secret) => JSON.stringify(answer).includes(secret))).toEqual(
      [],
    );
  });

  it('gives pages, whatever comes and goes between them', async () => {
    const ids = [];
    for (let i = 0; i < 6; i += 1) ids.push((await good<Minted>(create())).key_info.key_id);
    const idsOf = ({ key_info }: Page): string[] => key_info.map(({ key_id }) => key_id);
    const first = await good<Page>(list('?limit=3'));
    expect(idsOf(first).slice(1)).toEqual(ids.slice(0, 2));
    await revoke(ids[1] ?? '');
    await revoke(ids[2] ?? '');
    ids.push((await good<Minted>(create())).key_info.key_id);
    const second = await good<Page>(list(`?limit=3&next_token=${first.next_token}`));
    expect(idsOf(second)).toEqual(ids.slice(3, 6));
    const last = await good<Page>(list(`?next_token=${second.next_token}&limit=1`));
    expect(last).toEqual({ key_info: [expect.objectContaining({ key_id: ids[6] })] });
  });

  it('has at most a hundred keys on a page', async () => {
    for (let i = 1; i < 101; i += 1) momento.issueV2Key();
    const first = await good<Page>(list());
    expect(first.key_info).toHaveLength(100);
    expect((await good<Page>(list(`?next_token=${first.next_token}`))).key_info).toHaveLength(1);
    expect(await good(list('?limit=100'))).toHaveProperty('next_token');
    keyApi.account.revoke(first.key_info[99]?.key_id ?? '', 'person');
    expect(await good(list())).not.toHaveProperty('next_token');
  });

  it.each([
    'limit=0',
    'limit=101',
    'limit=-1',
    'limit=ten',
    'limit=1.5',
    'limit=',
    'limit=1&limit=2',
    'next_token=x',
    'next_token=',
    'role=r-viewer',
  ])('refuses %s', async (query) => {
    expect(await list(`?${query}`)).toMatchObject(BAD_REQUEST);
  });

  it.each(['gone', 'listed'] as const)('finds an expired key %s', async (expiredKeys) => {
    keyApi.expiredKeys = expiredKeys;
    const { keyInfo } = momento.issueV2Key({ lifetimeSeconds: 60 });
    setTime(START + 59_000);
    expect(await listed()).toContain(keyInfo.key_id);
    setTime(START + 60_000);
    expect((await listed()).includes(keyInfo.key_id)).toBe(expiredKeys === 'listed');
    const answer = expiredKeys === 'listed' ? { status: 200 } : NOT_FOUND;
    expect(await revoke(keyInfo.key_id)).toMatchObject(answer);
  });
});

describe('revoking a key', () => {
  it('ends it at once, for good, and only once', async () => {
    const { api_key, key_info } = await good<Minted>(create({ ...terms, role_id: 'r-operator' }));
    expect(await list('', api_key)).toMatchObject({ status: 200 });
    expect(await good(revoke(key_info.key_id))).toEqual({});
    expect(await list('', api_key)).toMatchObject(UNAUTHENTICATED);
    expect(momento.accepts(api_key)).toBe(false);
    expect(await listed()).not.toContain(key_info.key_id);
    expect(await revoke(key_info.key_id)).toMatchObject(NOT_FOUND);
    expect(await call('DELETE', `/api-keys/${key_info.key_id}?force=1`)).toMatchObject(BAD_REQUEST);
  });

  it('lets a key revoke itself', async () => {
    const { apiKey, keyInfo } = momento.issueV2Key({ role: 'r-operator' });
    expect(await revoke(keyInfo.key_id, apiKey)).toMatchObject({ status: 200 });
    expect(await revoke(keyInfo.key_id, apiKey)).toMatchObject(UNAUTHENTICATED);
  });
});

describe('refreshing a key', () => {
  it('gives a successor for the same time again, and leaves the key that it replaces', async () => {
    const old = momento.issueV2Key({ lifetimeSeconds: 30 * DAY_S, description: DESCRIPTION });
    setTime(START + 20 * DAY);
    const fresh = await good<Minted>(refresh(old.refreshToken ?? ''));
    const { key_id } = fresh.key_info;
    expect(fresh).toEqual({
      api_key: expect.any(String) as string,
      refresh_token: expect.any(String) as string,
      key_info: {
        ...old.keyInfo,
        key_id,
        issued_at_epoch_seconds: START_S + 20 * DAY_S,
        expires_at_epoch_seconds: START_S + 50 * DAY_S,
      },
      previous_key_id: old.keyInfo.key_id,
    });
    const exp = START_S + 50 * DAY_S;
    expect(claimsOf(fresh.api_key)).toEqual({ t: 'g', jti: key_id, exp });
    expect(claimsOf(fresh.refresh_token)).toEqual({ t: 'gr', akid: key_id, exp });
    expect([old.apiKey, fresh.api_key].map((key) => momento.accepts(key))).toEqual([true, true]);
    setTime(START + 30 * DAY);
    expect([old.apiKey, fresh.api_key].map((key) => momento.accepts(key))).toEqual([false, true]);
  });

  it('limits the lifetime on request, also that of every later refresh', async () => {
    const old = momento.issueV2Key({ lifetimeSeconds: 30 * DAY_S });
    const until = (expiry: number) => ({ expiration_epoch_seconds: expiry });
    const short = await good<Minted>(refresh(old.refreshToken ?? '', until(START_S + 60)));
    expect(short.key_info.expires_at_epoch_seconds).toBe(START_S + 60);
    const next = await good<Minted>(refresh(short.refresh_token ?? ''));
    expect(next.key_info.expires_at_epoch_seconds).toBe(START_S + 60);
    const longer = refresh(next.refresh_token ?? '', until(START_S + 61));
    expect(await longer).toMatchObject(BAD_REQUEST);
  });

  it.each<[string, unknown]>([
    ['a list', []],
    ['an unknown field', { expiry: START_S + 60 }],
    ['an expiry that is a string', { expiration_epoch_seconds: String(START_S + 60) }],
    ['an expiry now', { expiration_epoch_seconds: START_S }],
    ['a longer life', { expiration_epoch_seconds: START_S + 30 * DAY_S + 1 }],
  ])('refuses %s, and spends nothing', async (_, body) => {
    const { refreshToken = '' } = momento.issueV2Key({ lifetimeSeconds: 30 * DAY_S });
    const answer = await call('POST', keyApi.refreshPath, { authorization: refreshToken, body });
    expect(answer).toMatchObject(BAD_REQUEST);
    expect(await refresh(refreshToken)).toMatchObject({ status: 200 });
  });

  it('refuses another content type and queries, and spends nothing', async () => {
    const { refreshToken = '' } = momento.issueV2Key();
    const options = { authorization: refreshToken, body: {} };
    expect(
      await call('POST', keyApi.refreshPath, { ...options, type: 'text/plain' }),
    ).toMatchObject(BAD_REQUEST);
    expect(await call('POST', `${keyApi.refreshPath}?a=b`, options)).toMatchObject(BAD_REQUEST);
    expect(await refresh(refreshToken)).toMatchObject({ status: 200 });
  });

  it('works once, with a token, of a live key', async () => {
    const key = (): { apiKey: string; refreshToken: string } => {
      const { apiKey, refreshToken = '' } = momento.issueV2Key({ lifetimeSeconds: 60 });
      return { apiKey, refreshToken };
    };
    const [used, revoked, expired] = [key(), key(), key()];
    expect(await refresh(used.refreshToken)).toMatchObject({ status: 200 });
    expect(await refresh(used.refreshToken)).toMatchObject(DENIED);
    momento.revoke(revoked.apiKey);
    expect(await refresh(revoked.refreshToken)).toMatchObject(UNAUTHENTICATED);
    expect(await refresh(`Bearer ${expired.refreshToken}`)).toMatchObject(UNAUTHENTICATED);
    expect(await refresh(expired.apiKey)).toMatchObject(UNAUTHENTICATED);
    expect(await refresh(manager)).toMatchObject(UNAUTHENTICATED);
    expect(await refresh(momento.issueKey().refreshToken)).toMatchObject(UNAUTHENTICATED);
    momento.revoke(used.apiKey);
    expect(await refresh(used.refreshToken)).toMatchObject(UNAUTHENTICATED);
    setTime(START + 60_000);
    expect(await refresh(expired.refreshToken)).toMatchObject(UNAUTHENTICATED);
  });

  it('needs no body', async () => {
    const { refreshToken = '' } = momento.issueV2Key({ lifetimeSeconds: 60 });
    const options = { authorization: refreshToken, body: undefined, type: 'text/plain' };
    const { key_info } = await good<Minted>(call('POST', keyApi.refreshPath, options));
    expect(key_info.expires_at_epoch_seconds).toBe(START_S + 60);
  });

  it('is where a test says, and nowhere else', async () => {
    const { refreshToken: authorization = '' } = momento.issueV2Key();
    const at = (path: string) => call('POST', path, { authorization, body: {} });
    keyApi.refreshPath = '/keys.v2/refresh';
    expect(await at('/api-keys/refresh')).toMatchObject({ status: 405 });
    expect(await at('/keys-v2/refresh')).toMatchObject({ status: 404 });
    expect(await at('/keys.v2/refresh/')).toMatchObject({ status: 404 });
    expect(await at('/keys.v2/refresh')).toMatchObject({ status: 200 });
  });
});

describe('limits and lags', () => {
  it('throttles an account, whoever calls', async () => {
    keyApi.callsPerSecond = 2;
    const { apiKey, refreshToken = '' } = momento.issueV2Key({ role: 'r-owner' });
    expect(await list()).toMatchObject({ status: 200 });
    setTime(START + 600);
    expect(await list('', apiKey)).toMatchObject({ status: 200 });
    for (const throttled of [list(), create(), revoke('none'), refresh(refreshToken)]) {
      expect(await throttled).toMatchObject({ status: 429, headers: { 'retry-after': '1' } });
    }
    expect(await list('', 'a stranger')).toMatchObject(UNAUTHENTICATED);
    setTime(START + 1000);
    expect(await refresh(refreshToken)).toMatchObject({ status: 200 });
    expect(await list()).toMatchObject({ status: 429 });
  });

  it('limits how many keys the account can have, without using a refresh token', async () => {
    const { apiKey, refreshToken = '' } = momento.issueV2Key();
    keyApi.maxKeys = 2;
    const refused = { status: 429, body: { code: 'ResourceExhausted' } };
    expect(await create()).toMatchObject(refused);
    expect(await refresh(refreshToken)).toMatchObject(refused);
    expect(keyApi.account.keys()).toHaveLength(2);
    const other = momento.issueV2Key();
    keyApi.maxKeys = 3;
    expect(await refresh(refreshToken)).toMatchObject(refused);
    momento.revoke(other.apiKey);
    expect(await refresh(refreshToken)).toMatchObject({ status: 200 });
    expect(momento.accepts(apiKey)).toBe(true);
  });

  it('lets a new key lag for a time, or for a number of calls', async () => {
    keyApi.newKeyLagMs = 2000;
    const operator = { ...terms, role_id: 'r-operator' };
    const { api_key: slow } = await good<Minted>(create(operator));
    const { refreshToken = '' } = momento.issueV2Key({ role: 'r-operator' });
    const { api_key: refreshed } = await good<Minted>(refresh(refreshToken));
    setTime(START + 1999);
    for (const key of [slow, refreshed]) {
      expect(momento.accepts(key)).toBe(false);
      expect(await list('', key)).toMatchObject(UNAUTHENTICATED);
    }
    setTime(START + 2000);
    for (const key of [slow, refreshed]) {
      expect(momento.accepts(key)).toBe(true);
      expect(await list('', key)).toMatchObject({ status: 200 });
    }

    keyApi.newKeyLagMs = 0;
    keyApi.newKeyRejections = 2;
    const { api_key: shy } = await good<Minted>(create(operator));
    expect(await list('', shy)).toMatchObject(UNAUTHENTICATED);
    expect(await cacheAnswers(shy)).toEqual(['AUTHENTICATION_ERROR', 'Miss', 'NOT_FOUND_ERROR']);
    expect(await list('', shy)).toMatchObject({ status: 200 });
  });
});

describe('v2 keys at the local Momento, through the real SDK', () => {
  it('are let in as their role allows', async () => {
    momento.account.roles.set('r-data', { keys: [], caches: 'data-only' });
    const minted = await good<Minted>(create({ ...terms, role_id: 'r-data' }));
    expect(await cacheAnswers(manager)).toEqual(['Success', 'Miss', 'NOT_FOUND_ERROR']);
    expect(await cacheAnswers(minted.api_key)).toEqual([
      'PERMISSION_ERROR',
      'Miss',
      'NOT_FOUND_ERROR',
    ]);
    expect(await cacheAnswers(`${manager.slice(0, -6)}abcdef`)).toEqual(
      Array(3).fill('AUTHENTICATION_ERROR'),
    );
  });

  it.each<[string, (id: string) => unknown]>([
    ['it is revoked', (id) => revoke(id)],
    ['it expires', () => setTime(START + 30 * DAY)],
  ])('are let in until %s', async (_, end) => {
    const { api_key, key_info } = await good<Minted>(create());
    expect(await cacheAnswers(api_key)).toEqual(['Success', 'Miss', 'NOT_FOUND_ERROR']);
    await end(key_info.key_id);
    expect(await cacheAnswers(api_key)).toEqual(Array(3).fill('AUTHENTICATION_ERROR'));
  });

  it('are not refreshed there', async () => {
    const { apiKey, refreshToken = '' } = momento.issueV2Key();
    const client = new AuthClient({
      credentialProvider: localProvider(apiKey),
      configuration: AuthClientConfigurations.Default.latest(new NoopMomentoLoggerFactory()),
    });
    expect(await client.refreshApiKey(refreshToken)).toMatchObject({
      _innerException: { _errorCode: 'AUTHENTICATION_ERROR' },
    });
    expect(await refresh(refreshToken)).toMatchObject({ status: 200 });
  });
});

describe('what people do, and what judges ask', () => {
  it('gives keys in the forms of the API and of the console', async () => {
    const { apiKey, refreshToken, keyInfo, apiJson, consoleJson } = momento.issueV2Key({
      role: 'r-owner',
      description: 'by hand',
      lifetimeSeconds: 60,
    });
    expect(JSON.parse(apiJson)).toEqual({
      api_key: apiKey,
      refresh_token: refreshToken,
      key_info: keyInfo,
    });
    expect(JSON.parse(consoleJson)).toEqual({
      apiKey,
      refreshToken,
      validUntil: START_S + 60,
      restEndpoint: `https://api.cache.${ENDPOINT}`,
    });
    expect(keyInfo).toMatchObject({ role_id: 'r-owner', description: 'by hand' });
    expect(await listed()).toContain(keyInfo.key_id);

    const lasting = momento.issueV2Key({ lifetimeSeconds: 'never' });
    expect(lasting.refreshToken).toBeUndefined();
    expect(momento.issueV2Key({ withRefreshToken: false }).refreshToken).toBeUndefined();
    expect(JSON.parse(lasting.consoleJson)).not.toHaveProperty('validUntil');
    expect(() => momento.issueV2Key({ role: 'r-none' })).toThrow('no such role');
    expect(() => momento.revoke('no key')).toThrow('no such key');
  });

  it('says which keys are live, who ended the others, and which nobody holds', async () => {
    const { account } = keyApi;
    const mint = async (): Promise<string> => (await good<Minted>(create())).api_key;
    const [byCall, byPerson, expired] = [await mint(), await mint(), await mint()];
    setTime(START + HOUR);
    const [held, orphan] = [await mint(), await mint()];
    await revoke(account.find(byCall)?.info.key_id ?? '');
    momento.revoke(byPerson);
    setTime(START + 30 * DAY);
    const keys = account.keys(DESCRIPTION);
    expect(keys.map(({ apiKey }) => apiKey)).toEqual([byCall, byPerson, expired, held, orphan]);
    expect(keys.map(({ issuedAt }) => issuedAt - START)).toEqual([0, 0, 0, HOUR, HOUR]);
    expect(keys.map(({ revoked }) => revoked)).toEqual([
      { at: START + HOUR, by: 'call' },
      { at: START + HOUR, by: 'person' },
      ...Array<undefined>(3),
    ]);
    expect(keys.map(({ issuedBy }) => issuedBy)).toEqual(Array(5).fill('call'));
    expect(account.keys('management').map(({ issuedBy }) => issuedBy)).toEqual(['person']);
    // All of them were made with the same expiry.
    expect(keys.some((key) => account.isLive(key))).toBe(false);
    setTime(START + 30 * DAY - 1000);
    expect(keys.filter((key) => account.isLive(key)).map(({ apiKey }) => apiKey)).toEqual([
      expired,
      held,
      orphan,
    ]);
    expect(account.orphans(DESCRIPTION, [held, expired])).toMatchObject([
      { apiKey: orphan, issuedAt: START + HOUR },
    ]);
  });

  it('tells of every change, once to each who follows', async () => {
    const changes: number[] = [];
    const follow = (): unknown => changes.push(keyApi.account.keys().length);
    const { refreshToken = '' } = momento.issueV2Key();
    keyApi.onChange(follow);
    const end = momento.onChange(follow);
    const { api_key, key_info } = await good<Minted>(create());
    await refresh(refreshToken);
    await revoke(key_info.key_id);
    expect(changes).toEqual([3, 4, 4]);
    await revoke(key_info.key_id);
    await create({});
    await list();
    expect(changes).toHaveLength(3);
    momento.issueV2Key();
    momento.revoke(api_key);
    momento.issueKey();
    expect(changes).toEqual([3, 4, 4, 5, 5, 5]);
    end();
    momento.issueV2Key();
    expect(changes).toHaveLength(6);
  });

  it('knows every secret that was given, and prints none', async () => {
    const minted = await good<Minted>(create({ ...terms, exclude_refresh_token: false }));
    const fresh = await good<Minted>(refresh(minted.refresh_token ?? ''));
    const secrets = [minted, fresh].flatMap(({ api_key, refresh_token }) => [
      api_key,
      refresh_token,
    ]);
    expect(momento.secrets()).toEqual(expect.arrayContaining([manager, ...secrets]));
    const everything = [services, keyApi.account, keyApi.faults.calls];
    const printed = inspect(everything, { depth: null, showHidden: true });
    expect(momento.secrets().filter((secret) => printed.includes(secret))).toEqual([]);
  });

  it('keeps accounts apart', async () => {
    const other = await startServices({ now: () => START });
    try {
      const { apiKey } = other.momento.issueV2Key({ role: 'r-owner' });
      expect(momento.accepts(apiKey)).toBe(false);
      expect(await list('', apiKey)).toMatchObject(UNAUTHENTICATED);
    } finally {
      await other.stop();
    }
  });
});

describe('under a plan of faults', () => {
  /** What a client makes of a call: its status, or the kind of its error. */
  const outcome = (answer: Promise<Answer>): Promise<unknown> =>
    answer.then(
      ({ status }) => status,
      (error: unknown) => (error as Error).name,
    );

  it.each<[string, Fault, unknown, number]>([
    ['is refused', { kind: 'status', status: 503, when: 'before' }, 503, 0],
    ['is refused late', { kind: 'status', status: 503, when: 'after' }, 503, 1],
    ['is cut', { kind: 'drop', when: 'before' }, 'Error', 0],
    ['is cut late', { kind: 'drop', when: 'after' }, 'Error', 1],
    ['has half an answer', { kind: 'half' }, 'Error', 1],
    ['has no JSON', { kind: 'not-json' }, 'SyntaxError', 1],
    ['meets a proxy', { kind: 'html', status: 502, when: 'after' }, 'SyntaxError', 1],
  ])('a call %s', async (_, fault, expected, effects) => {
    const { refreshToken = '', keyInfo } = momento.issueV2Key({ description: 'to refresh' });
    for (const method of ['CreateKey', 'ListKeys', 'RevokeKey', 'RefreshKey']) {
      keyApi.faults.inject(method, 1, fault);
    }
    expect(await outcome(create())).toBe(expected);
    expect(keyApi.account.keys(DESCRIPTION)).toHaveLength(effects);
    expect(await outcome(list())).toBe(expected);
    expect(await outcome(refresh(refreshToken))).toBe(expected);
    expect(keyApi.account.keys('to refresh')).toHaveLength(1 + effects);
    expect(await outcome(refresh(refreshToken))).toBe(effects === 0 ? 200 : 403);
    expect(await outcome(revoke(keyInfo.key_id))).toBe(expected);
    expect(await outcome(revoke(keyInfo.key_id))).toBe(effects === 0 ? 200 : 404);
    expect(
      keyApi.faults.calls.map(({ service, method, n }) => `${service} ${method} ${n}`),
    ).toEqual([
      'keyapi CreateKey 1',
      'keyapi ListKeys 1',
      'keyapi RefreshKey 1',
      'keyapi RefreshKey 2',
      'keyapi RevokeKey 1',
      'keyapi RevokeKey 2',
    ]);
  });

  it('arrives as a test rewrites it', async () => {
    keyApi.faults.inject('CreateKey', 1, {
      kind: 'rewrite',
      rewrite: (body) => ({ status: 201, headers: { 'x-size': `${body.length}` }, body: '{}' }),
    });
    const { status, body, headers } = await create();
    expect({ status, body }).toEqual({ status: 201, body: {} });
    expect(Number(headers['x-size'])).toBeGreaterThan(100);
    expect(keyApi.account.keys(DESCRIPTION)).toHaveLength(1);
  });

  it('changes the protocol of a connection', async () => {
    keyApi.faults.inject('ListKeys', 1, { kind: 'upgrade', when: 'before' });
    const sent = request(`http://${keyApi.host}/api-keys`, { headers: { authorization: manager } });
    sent.end();
    const [response, socket] = (await once(sent, 'upgrade')) as [IncomingMessage, Socket];
    expect(response.statusCode).toBe(101);
    socket.destroy();
  });

  it('loses what matters in a corrupted answer', async () => {
    const { refreshToken = '', keyInfo } = momento.issueV2Key();
    for (const method of ['CreateKey', 'ListKeys', 'RevokeKey', 'RefreshKey']) {
      keyApi.faults.inject(method, 'every', { kind: 'corrupt' });
    }
    expect(await good(create())).not.toHaveProperty('api_key');
    expect(await good(list())).toEqual({ key_info: [{}] });
    expect(await good(refresh(refreshToken))).not.toHaveProperty('api_key');
    expect(await good(revoke(keyInfo.key_id))).not.toEqual({});
    expect(keyApi.account.keys(DESCRIPTION)).toHaveLength(1);
  });
});

it('starts three services that know of each other what they have to', () => {
  const { secretManager, env } = services;
  expect(env).toEqual({
    SECRET_MANAGER_EMULATOR_HOST: secretManager.host,
    MOMENTO_EMULATOR_HOST: momento.host,
    MOMENTO_KEY_API_EMULATOR_HOST: keyApi.host,
  });
  expect(new Set(Object.values(env)).size).toBe(3);
  expect([secretManager, momento, keyApi].map(({ now }) => now())).toEqual(Array(3).fill(START));
});

/** What the SDK makes of listing the caches, and of reading from one that exists and one that does not. */
async function cacheAnswers(apiKey: string): Promise<string[]> {
  const client = new CacheClient({
    credentialProvider: localProvider(apiKey),
    configuration: Configurations.Lambda.latest(new NoopMomentoLoggerFactory()),
    defaultTtlSeconds: 60,
  });
  try {
    const all = [
      await client.listCaches(),
      await client.get('cache', 'k'),
      await client.get('none', 'k'),
    ];
    return all.map((answer) => ('errorCode' in answer ? answer.errorCode() : answer.type));
  } finally {
    client.close();
  }
}

/** The SDK's own provider for v2 keys, which takes no other endpoints, with the local ones in place of its own. */
function localProvider(apiKey: string): CredentialProvider {
  const { host } = momento;
  return Object.assign(CredentialProvider.fromApiKeyV2({ apiKey, endpoint: ENDPOINT }), {
    getControlEndpoint: () => host,
    getCacheEndpoint: () => host,
    getTokenEndpoint: () => host,
    isEndpointSecure: () => false,
  });
}
