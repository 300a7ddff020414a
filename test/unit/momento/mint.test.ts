import type { MintedKey } from '../../../src/momento/answers';
import type { MintRequest } from '../../../src/momento/key-api';
import { mint } from '../../../src/momento/mint';
import { RotationError } from '../../../src/errors';
import type { Renewal, Secret } from '../../../src/rotation/ports';
import { DAY, HOUR, jwt, NOW, SECOND, secretName, v1Key, version } from '../support';
import { inSeconds, keyInfo, parse, SECRET, v2Key, written } from './support';

const NAME = 'projects/p/secrets/s';

function secret(changes: Partial<Secret> = {}): Secret {
  return { ...secretName(NAME), payload: 'json', ...changes };
}

/** A management key in front of an account that does what it is asked, unless its answer is changed. */
function account(listed: object[] = [], change: (minted: MintedKey) => object = (same) => same) {
  const requests: MintRequest[] = [];
  return {
    requests,
    lists: 0,
    list() {
      this.lists += 1;
      return Promise.resolve(listed as MintedKey['key_info'][]);
    },
    mint(request: MintRequest) {
      requests.push(request);
      const key_info = keyInfo({
        key_id: 'key-2',
        role_id: request.role,
        description: request.description,
        expires_at_epoch_seconds: inSeconds(request.expiresAt),
      });
      const minted = { api_key: v2Key('key-2', request.expiresAt), key_info } as MintedKey;
      return Promise.resolve(change(minted) as MintedKey);
    },
  };
}

function current(payload: string | object, createdAt = NOW - 5 * DAY) {
  return { version: version(4, 'ENABLED', createdAt), credential: parse(payload) };
}

function renewal(...args: Parameters<typeof mint>): Renewal {
  const made = mint(...args);
  if (made instanceof RotationError) throw made;
  return made;
}

const now = () => NOW;
/** Console JSON of a key whose role and lifetime only Momento's list tells. */
const BARE = v2Key('key-1', NOW + DAY);
const API_JSON = { api_key: v2Key('key-1', NOW + 10 * DAY), key_info: keyInfo() };
const LISTED = [
  keyInfo({ key_id: 'key-0', role_id: 'r-other' }),
  keyInfo({ role_id: 'r-listed', expires_at_epoch_seconds: inSeconds(NOW + 30 * DAY) }),
];

describe('what is asked for', () => {
  const V1 = { apiKey: v1Key(SECRET), validUntil: inSeconds(NOW + 2 * DAY), refreshToken: 'old' };
  const configured = { role: 'r-set', lifetimeMs: 7 * DAY };

  test.each<[string, Partial<Secret>, object | string | undefined, string, number, number]>([
    ['the first key', configured, undefined, 'r-set', 7, 0],
    ['a configured role and lifetime, whatever the key had', configured, API_JSON, 'r-set', 7, 0],
    ['those of the payload', {}, API_JSON, 'r-viewer', 10, 0],
    ['a configured role, the lifetime of the payload', { role: 'r-set' }, API_JSON, 'r-set', 10, 0],
    ['the role of the payload, a lifetime', { lifetimeMs: DAY }, API_JSON, 'r-viewer', 1, 0],
    ['those of the list', {}, BARE, 'r-listed', 30, 1],
    ['a configured role, the lifetime of the list', { role: 'r-set' }, BARE, 'r-set', 30, 1],
    ['the role of the list, a lifetime', { lifetimeMs: DAY }, BARE, 'r-listed', 1, 1],
    [
      'the lifetime that was meant, not what was left of it when the key was made',
      {},
      {
        api_key: v2Key('key-1', NOW + 10 * DAY),
        key_info: keyInfo({ issued_at_epoch_seconds: inSeconds(NOW) + 9 }),
      },
      'r-viewer',
      10,
      0,
    ],
    ['for a v1 key, its age and what is left', { role: 'r-set' }, V1, 'r-set', 7, 0],
    [
      'a lifetime for a key that never expires',
      { lifetimeMs: DAY },
      { api_key: v2Key('key-1'), key_info: keyInfo({ expires_at_epoch_seconds: undefined }) },
      'r-viewer',
      1,
      0,
    ],
    [
      'those of the list, where the payload describes another key',
      {},
      { ...API_JSON, key_info: keyInfo({ key_id: 'key-0' }) },
      'r-listed',
      30,
      1,
    ],
  ])('%s', async (_name, changes, payload, role, days, lists) => {
    const momento = account(LISTED);
    const credential = await renewal(
      secret(changes),
      payload === undefined ? undefined : current(payload),
      momento,
      now,
    ).issue();
    const expiresAt = NOW + days * DAY;
    expect(momento.requests).toEqual([
      { role, description: `momento-key-rotator ${NAME}`, expiresAt },
    ]);
    expect(momento.lists).toBe(lists);
    expect(credential).toMatchObject({ keyId: 'key-2', expiresAt });
  });

  test('a regional secret by its whole name', async () => {
    const momento = account();
    const name = 'projects/p/locations/europe-west1/secrets/s';
    await renewal(
      { ...secretName(name), ...configured, payload: 'key' },
      undefined,
      momento,
      now,
    ).issue();
    expect(momento.requests[0]?.description).toBe(`momento-key-rotator ${name}`);
  });
});

describe('what is not known before anything is made', () => {
  const never = v2Key('key-1');
  const v1 = (days: number) => ({ apiKey: v1Key(SECRET), validUntil: inSeconds(NOW + days * DAY) });

  test.each<[string, string, Partial<Secret>, object | string | undefined]>([
    ['no version', 'ROLE_UNKNOWN', { lifetimeMs: DAY }, undefined],
    ['no version, a role', 'LIFETIME_UNKNOWN', { role: 'r-set' }, undefined],
    ['a v1 key', 'ROLE_UNKNOWN', {}, v1(1)],
    ['a key that never expires', 'LIFETIME_UNKNOWN', { role: 'r-set' }, never],
    ['a v1 key that never expires', 'LIFETIME_UNKNOWN', { role: 'r-set' }, v1Key(SECRET)],
    ['a v2 key without an id', 'ROLE_UNKNOWN', {}, jwt({ t: 'g', exp: inSeconds(NOW + DAY) })],
    // Created five days ago, it had less than a day left.
    ['a v1 key that was stored late', 'LIFETIME_UNKNOWN', { role: 'r-set' }, v1(-4.5)],
  ])('%s: %s stands in the way', (_name, code, changes, payload) => {
    const obstacle = mint(
      secret(changes),
      payload === undefined ? undefined : current(payload),
      account(),
      now,
    );
    expect(obstacle).toMatchObject({ code, refused: false, retryable: false });
  });

  test.each<[string, string, object[], Partial<Secret>]>([
    ['a key that is not in the list', 'ROLE_UNKNOWN', [], {}],
    ['a key that is not in the list, a role', 'LIFETIME_UNKNOWN', [], { role: 'r-set' }],
    [
      'a key that never expires by the list',
      'LIFETIME_UNKNOWN',
      [keyInfo({ expires_at_epoch_seconds: null })],
      {},
    ],
    [
      'a key that expires before it is issued',
      'LIFETIME_UNKNOWN',
      [keyInfo({ issued_at_epoch_seconds: inSeconds(NOW + 20 * DAY) })],
      {},
    ],
  ])('%s: %s, and nothing is made', async (_name, code, listed, changes) => {
    const momento = account(listed);
    await expect(
      renewal(secret(changes), current(BARE), momento, now).issue(),
    ).rejects.toMatchObject({ code });
    expect(momento.requests).toEqual([]);
  });
});

describe('an answer that is not what was asked for', () => {
  const expiring = (id: string, at: number | undefined) => ({ api_key: v2Key(id, at) });
  const cases: [string, (minted: MintedKey) => object][] = [
    ['a v1 key', (minted) => ({ ...minted, api_key: v1Key(SECRET) })],
    ['no key', (minted) => ({ ...minted, api_key: SECRET })],
    ['a refresh token', (minted) => ({ ...minted, api_key: jwt({ t: 'gr', akid: 'key-2' }) })],
    ['a key without an id', (minted) => ({ ...minted, api_key: jwt({ t: 'g', exp: 2e9 }) })],
    ['another id', (minted) => ({ ...minted, ...expiring('key-3', NOW + 10 * DAY) })],
    [
      'another role',
      (minted) => ({ ...minted, key_info: { ...minted.key_info, role_id: 'r-owner' } }),
    ],
    ['an expiry in the past', (minted) => ({ ...minted, ...expiring('key-2', NOW - SECOND) })],
    ['an expiry in a moment', (minted) => ({ ...minted, ...expiring('key-2', NOW + HOUR) })],
    ['an expiry in years', (minted) => ({ ...minted, ...expiring('key-2', NOW + 400 * DAY) })],
    ['no expiry', (minted) => ({ ...minted, ...expiring('key-2', undefined) })],
    [
      'more than can be stored',
      (minted) => ({ ...minted, key_info: { ...minted.key_info, description: 'x'.repeat(65536) } }),
    ],
  ];

  test.each(cases)('%s', async (_name, change) => {
    const momento = account([], change);
    const issue: Promise<unknown> = renewal(secret(), current(API_JSON), momento, now).issue();
    await expect(issue).rejects.toMatchObject({
      code: 'ISSUED_CREDENTIAL_INVALID',
      mayHaveHadEffect: true,
    });
    await expect(issue).rejects.not.toThrow(SECRET);
  });

  test('a key that lives a little longer or shorter is taken', async () => {
    const momento = account([], (minted) => ({
      ...minted,
      ...expiring('key-2', NOW + 9 * DAY),
      refresh_token: 'that nobody asked for',
    }));
    const credential = await renewal(secret(), current(API_JSON), momento, now).issue();
    expect(credential.expiresAt).toBe(NOW + 9 * DAY);
    expect(written(credential)).not.toHaveProperty('refresh_token');
  });
});

test.each<['json' | 'key', string]>([
  ['json', 'API JSON'],
  ['key', 'the bare key'],
])('the first payload, configured as %s, is %s', async (payload) => {
  const terms = { role: 'r-set', lifetimeMs: DAY };
  const first = await renewal(secret({ ...terms, payload }), undefined, account(), now).issue();
  const text = Buffer.from(first.serialize()).toString();
  const expected = { keyId: 'key-2', expiresAt: NOW + DAY };
  expect(parse(text)).toMatchObject(expected);
  expect(text.startsWith('{')).toBe(payload === 'json');
});

describe('a refusal', () => {
  const refused = new RotationError('MINT_REFUSED', 'Momento refused.');
  const expiry = new Date(NOW + 10 * DAY).toISOString();

  test.each<[string, object | string | undefined, number, string]>([
    [
      'a working key',
      API_JSON,
      NOW,
      `Readers keep the newest version, whose key expires at ${expiry}`,
    ],
    ['an expired key', API_JSON, NOW + 10 * DAY, `expired at ${expiry}: readers are refused`],
    ['a key for ever', v2Key('key-1'), NOW, 'whose key never expires'],
    ['no key', undefined, NOW, 'has no key, and its readers get nothing'],
  ])('with %s', (_name, payload, time, text) => {
    const made = renewal(
      secret({ role: 'r-set', lifetimeMs: DAY }),
      payload === undefined ? undefined : current(payload),
      account(),
      now,
    );
    const error = made.refusal(refused, { answerLost: true, now: time });
    expect(error).toMatchObject({ code: 'MINT_REFUSED', cause: refused });
    expect(error.message).toContain('Momento refused.');
    expect(error.message).toContain(text);
  });
});
