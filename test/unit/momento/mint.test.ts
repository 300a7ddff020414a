import { RotationError } from '../../../src/errors';
import type { KeyList, ListedKey, MintRequest } from '../../../src/momento/key-api';
import { mint, type Minter } from '../../../src/momento/mint';
import type { CallLimits, NextKey, Secret } from '../../../src/rotation/ports';
import { DAY, HOUR, jwt, NOW, SECOND, secretName, v1Key, version } from '../support';
import { inSeconds, keyInfo, parse, SECRET, v2Key, written } from './support';

const NAME = 'projects/p/secrets/s';

function secret(changes: Partial<Secret> = {}): Secret {
  return { ...secretName(NAME), payload: 'json', ...changes };
}

interface Minted {
  readonly api_key: string;
  readonly key_info: Record<string, unknown>;
}

/** A management key of an account that does what it is asked, unless a test changes its answer. */
class Account implements Minter {
  readonly requests: MintRequest[] = [];
  readonly limits: CallLimits[] = [];
  lists = 0;

  constructor(
    readonly listed: readonly ListedKey[] = [],
    readonly change: (minted: Minted) => object = (same) => same,
  ) {}

  list(limits: CallLimits): Promise<KeyList> {
    this.lists += 1;
    this.limits.push(limits);
    const keys = new Map(this.listed.map((key) => [key.keyId, key]));
    return Promise.resolve({ keys, skipped: 0 });
  }

  count(): Promise<number | undefined> {
    return Promise.resolve(4321);
  }

  async mint(request: MintRequest, limits: CallLimits) {
    this.requests.push(request);
    this.limits.push(limits);
    const key_info = keyInfo({
      key_id: 'key-2',
      role_id: request.role,
      description: request.description,
      expires_at_epoch_seconds: inSeconds(request.expiresAt),
    });
    const api_key = v2Key('key-2', request.expiresAt);
    return Promise.resolve({ ...this.change({ api_key, key_info }) });
  }
}

function current(payload: string | object | undefined) {
  return payload === undefined ? undefined : { version: version(4), credential: parse(payload) };
}

const LIMITS = { deadline: 1234 };

function nextKey(...args: Parameters<typeof mint>): NextKey {
  const made = mint(...args);
  if (made instanceof RotationError) throw made;
  return made;
}

async function issue(...args: Parameters<typeof mint>) {
  return (await nextKey(...args).issue(LIMITS)).credential;
}

const now = () => NOW;
/** Only Momento's list contains the role and lifetime of this key. */
const BARE = v2Key('key-1', NOW + DAY);
const API_JSON = { api_key: v2Key('key-1', NOW + 10 * DAY), key_info: keyInfo() };
const LISTED: ListedKey[] = [
  listed('key-0', { role: 'r-other' }),
  listed('key-1', { role: 'r-listed', expiresAt: NOW + 30 * DAY }),
];

function listed(keyId: string, changes: Partial<ListedKey> = {}): ListedKey {
  const terms = { role: 'r-viewer', description: undefined, issuedAt: NOW };
  return { keyId, ...terms, expiresAt: NOW + 10 * DAY, ...changes };
}

describe('a mint request', () => {
  const V1 = { apiKey: v1Key(SECRET), validUntil: inSeconds(NOW + 2 * DAY), refreshToken: 'old' };
  const configured = { role: 'r-set', lifetimeMs: 7 * DAY };

  const issuedLate = { issued_at_epoch_seconds: inSeconds(NOW) + 9 };
  const short = { expires_at_epoch_seconds: inSeconds(NOW + 40 * HOUR) };
  const v1Since = v1Key(jwt({ iat: inSeconds(NOW - 12 * DAY) }));
  const v2Since = { iat: inSeconds(NOW - DAY), exp: inSeconds(NOW + DAY) };
  const never = keyInfo({ expires_at_epoch_seconds: undefined });
  const another = keyInfo({ key_id: 'key-0' });
  const SHORT = { api_key: v2Key('key-1', NOW + 40 * HOUR), key_info: keyInfo(short) };

  /** Role, lifetime in days, and how often the keys are listed. */
  type Terms = [string, number, number];
  const ROLE = { role: 'r-set' };
  const A_DAY = { lifetimeMs: DAY };

  test.each<[string, Partial<Secret>, object | string | undefined, Terms]>([
    ['a first key', configured, undefined, ['r-set', 7, 0]],
    [
      'role and lifetime as configured, whatever the key had',
      configured,
      API_JSON,
      ['r-set', 7, 0],
    ],
    ['those of the payload', {}, API_JSON, ['r-viewer', 10, 0]],
    ['a configured role and the lifetime of the payload', ROLE, API_JSON, ['r-set', 10, 0]],
    ['the role of the payload and a configured lifetime', A_DAY, API_JSON, ['r-viewer', 1, 0]],
    ['those of the list', {}, BARE, ['r-listed', 30, 1]],
    ['a configured role and the lifetime of the list', ROLE, BARE, ['r-set', 30, 1]],
    ['the role of the list and a configured lifetime', A_DAY, BARE, ['r-listed', 1, 1]],
    [
      'the lifetime that was meant, not what was left of it when the key was made',
      {},
      { ...API_JSON, key_info: keyInfo(issuedLate) },
      ['r-viewer', 10, 0],
    ],
    ['the lifetime in a v1 key', ROLE, { ...V1, apiKey: v1Since }, ['r-set', 14, 0]],
    ['the lifetime in a v2 key', ROLE, jwt({ t: 'g', jti: 'key-1', ...v2Since }), ['r-set', 2, 0]],
    ['a lifetime of hours, although its version is older', {}, SHORT, ['r-viewer', 40 / 24, 0]],
    [
      'a configured lifetime instead of none',
      A_DAY,
      { api_key: v2Key('key-1'), key_info: never },
      ['r-viewer', 1, 0],
    ],
    [
      'those of the list, when the payload describes another key',
      {},
      { ...API_JSON, key_info: another },
      ['r-listed', 30, 1],
    ],
  ])('has %s', async (_name, changes, payload, [role, days, lists]) => {
    const momento = new Account(LISTED);
    const credential = await issue(secret(changes), current(payload), momento, now);
    const expiresAt = NOW + days * DAY;
    expect(momento.requests).toEqual([
      { secret: NAME, role, description: `momento-key-rotator ${NAME}`, expiresAt },
    ]);
    expect(momento.lists).toBe(lists);
    expect(momento.limits).toEqual(Array(lists + 1).fill(LIMITS));
    expect(credential).toMatchObject({ keyId: 'key-2', expiresAt });
  });

  test('a regional secret by its whole name', async () => {
    const momento = new Account();
    const name = 'projects/p/locations/europe-west1/secrets/s';
    await issue({ ...secretName(name), ...configured, payload: 'key' }, undefined, momento, now);
    expect(momento.requests[0]?.description).toBe(`momento-key-rotator ${name}`);
  });
});

describe('a mint without known terms', () => {
  const never = v2Key('key-1');
  const v1 = (days: number) => ({ apiKey: v1Key(SECRET), validUntil: inSeconds(NOW + days * DAY) });

  const late = { ...v1(2), apiKey: v1Key(jwt({ iat: inSeconds(NOW + 3 * DAY) })) };

  test.each<[string, string, Partial<Secret>, object | string | undefined]>([
    ['no version', 'ROLE_UNKNOWN', { lifetimeMs: DAY }, undefined],
    ['no version, a role', 'LIFETIME_UNKNOWN', { role: 'r-set' }, undefined],
    ['a v1 key', 'ROLE_UNKNOWN', {}, v1(1)],
    ['a key that never expires', 'LIFETIME_UNKNOWN', { role: 'r-set' }, never],
    ['a v1 key that never expires', 'LIFETIME_UNKNOWN', { role: 'r-set' }, v1Key(SECRET)],
    ['a v2 key without an id', 'ROLE_UNKNOWN', {}, jwt({ t: 'g', exp: inSeconds(NOW + DAY) })],
    // The age of its version says nothing about the age of a key that somebody stored again.
    ['a v1 key that does not say when it was issued', 'LIFETIME_UNKNOWN', { role: 'r-set' }, v1(2)],
    ['a v1 key that was issued after its expiry', 'LIFETIME_UNKNOWN', { role: 'r-set' }, late],
  ])('%s: %s blocks the mint', (_name, code, changes, payload) => {
    const blocker = mint(secret(changes), current(payload), new Account(), now);
    expect(blocker).toMatchObject({ code, refused: false, retryable: false });
    expect((blocker as RotationError).message).toContain(NAME);
  });

  const listedForEver = listed('key-1', { expiresAt: Infinity });
  const issuedLate = listed('key-1', { issuedAt: NOW + 20 * DAY });

  test.each<[string, string, ListedKey[], Partial<Secret>]>([
    ['an unlisted key', 'ROLE_UNKNOWN', [], {}],
    ['an unlisted key, a role', 'LIFETIME_UNKNOWN', [], { role: 'r-set' }],
    ['a key that never expires by the list', 'LIFETIME_UNKNOWN', [listedForEver], {}],
    ['a key that expires before it is issued', 'LIFETIME_UNKNOWN', [issuedLate], {}],
  ])('%s: fails with %s, and mints nothing', async (_name, code, keys, changes) => {
    const momento = new Account(keys);
    const issued = issue(secret(changes), current(BARE), momento, now);
    await expect(issued).rejects.toMatchObject({ code });
    expect(momento.requests).toEqual([]);
  });
});

const TERMS = { role: 'r-set', lifetimeMs: 10 * DAY };
const info = (minted: Minted, changes: object) => ({
  ...minted,
  key_info: { ...minted.key_info, ...changes },
});
const expiring = (minted: Minted, at: number | undefined) => ({
  ...minted,
  api_key: v2Key('key-2', at),
});

describe('an answer without the key that was requested', () => {
  test.each<[string, (minted: Minted) => object]>([
    ['a v1 key', (minted) => ({ ...minted, api_key: v1Key(SECRET) })],
    ['another text', (minted) => ({ ...minted, api_key: SECRET })],
    ['a number', (minted) => ({ ...minted, api_key: 7 })],
    ['nothing', () => ({})],
    ['a refresh token', (minted) => ({ ...minted, api_key: jwt({ t: 'gr', akid: 'key-2' }) })],
    ['a key without an id', (minted) => ({ ...minted, api_key: jwt({ t: 'g', exp: 2e9 }) })],
    ['a key of another role', (minted) => info(minted, { role_id: 'r-owner' })],
    ['an expired key', (minted) => expiring(minted, NOW - SECOND)],
    ['a key for a moment', (minted) => expiring(minted, NOW + HOUR)],
    ['a key for years', (minted) => expiring(minted, NOW + 400 * DAY)],
    ['a key for ever', (minted) => expiring(minted, undefined)],
    ['a key that is too long', (minted) => ({ api_key: minted.api_key + 'x'.repeat(65_536) })],
  ])('is not stored: %s', async (_name, change) => {
    const account = new Account([], change);
    const result: Promise<unknown> = issue(secret(TERMS), current(API_JSON), account, now);
    const problem = /^Momento's answer to the mint contains no usable key: /;
    await expect(result).rejects.toMatchObject({
      code: 'ISSUED_CREDENTIAL_INVALID',
      outcomeUnknown: true,
      problem: expect.stringMatching(problem) as string,
    });
    await expect(result).rejects.not.toThrow(SECRET);
  });
});

describe('a usable key', () => {
  test('is stored if it lives a little longer or shorter, without a refresh token', async () => {
    const momento = new Account([], (minted) => ({
      ...expiring(minted, NOW + 9 * DAY),
      refresh_token: 'that nobody requested',
    }));
    const next = nextKey(secret(TERMS), current(API_JSON), momento, now);
    const { credential, warnings } = await next.issue(LIMITS);
    expect(credential.expiresAt).toBe(NOW + 9 * DAY);
    expect(written(credential)).not.toHaveProperty('refresh_token');
    expect(warnings).toEqual([]);
  });

  test.each<[string, (minted: Minted) => object]>([
    ['is missing', ({ api_key }) => ({ api_key })],
    ['is null', ({ api_key }) => ({ api_key, key_info: null })],
    ['has no role', (minted) => info(minted, { role_id: undefined })],
    ['has times in words', (minted) => info(minted, { issued_at_epoch_seconds: 'now' })],
    ['has times in milliseconds', (minted) => info(minted, { expires_at_epoch_seconds: NOW })],
    ['describes another key', (minted) => info(minted, { key_id: 'key-9' })],
  ])('is stored with a warning if its description %s', async (_name, change) => {
    const momento = new Account([], change);
    const next = nextKey(secret(TERMS), current(API_JSON), momento, now);
    const { credential, warnings } = await next.issue(LIMITS);
    expect(credential.keyId).toBe('key-2');
    expect(written(credential).key_info).toEqual({
      expires_at_epoch_seconds: inSeconds(NOW + 10 * DAY),
    });
    expect(warnings).toEqual([expect.stringContaining("isn't confirmed")]);
  });

  test('is stored without the white space around it', async () => {
    const momento = new Account([], (minted) => ({ ...minted, api_key: ` ${minted.api_key}\r\n` }));
    const credential = await issue(secret(TERMS), undefined, momento, now);
    expect(written(credential).api_key).toBe(v2Key('key-2', NOW + 10 * DAY));
  });

  test('is stored without its description when that is too long', async () => {
    const momento = new Account([], (minted) => info(minted, { more: 'x'.repeat(65_536) }));
    const credential = await issue(secret(TERMS), undefined, momento, now);
    expect(credential).toMatchObject({ keyId: 'key-2', expiresAt: NOW + 10 * DAY });
    expect(written(credential)).not.toHaveProperty('key_info');
  });
});

test.each<['json' | 'key', string]>([
  ['json', 'API JSON'],
  ['key', 'the bare key'],
])('the first payload, configured as %s, is %s', async (payload) => {
  const first = await issue(secret({ ...TERMS, payload }), undefined, new Account(), now);
  const text = Buffer.from(first.serialize()).toString();
  expect(parse(text)).toMatchObject({ keyId: 'key-2', expiresAt: NOW + 10 * DAY });
  expect(text.startsWith('{')).toBe(payload === 'json');
});

test('a mint is not repeated after three unknown outcomes', () => {
  expect(nextKey(secret(TERMS), undefined, new Account(), now).maxUnknownOutcomes).toBe(3);
});

describe('an error of a mint', () => {
  const failing = (error: RotationError): Account => {
    const momento = new Account();
    momento.mint = () => Promise.reject(error);
    return momento;
  };

  test('contains the number of keys of the account when a limit is exceeded', async () => {
    const parts = { problem: 'Too many.', action: 'Wait.' };
    const error = new RotationError('MOMENTO_LIMIT_EXCEEDED', parts, { retryAfterMs: 7 });
    await expect(issue(secret(TERMS), undefined, failing(error), now)).rejects.toMatchObject({
      code: 'MOMENTO_LIMIT_EXCEEDED',
      retryAfterMs: 7,
      problem: expect.stringContaining('The account has 4321 v2 keys.') as string,
    });
  });

  test('is unchanged when no limit is exceeded', async () => {
    const error = new RotationError('MINT_REFUSED', { problem: 'Refused.', action: 'Act.' });
    await expect(issue(secret(TERMS), undefined, failing(error), now)).rejects.toBe(error);
    const next = nextKey(secret(TERMS), undefined, new Account(), now);
    expect(next.refusal(error, { answerLost: true, now: NOW })).toBe(error);
  });
});
