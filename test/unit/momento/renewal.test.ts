import { ExpiresAt } from '@gomomento/sdk';
import { RotationError } from '../../../src/errors';
import { successor } from '../../../src/momento/refresh-v1';
import { renewal, type Means } from '../../../src/momento/renewal';
import { Sdk } from '../../../src/momento/sdk';
import type { Renewal, Secret } from '../../../src/rotation/ports';
import { DAY, jwt, NOW, secretName, thrownBy, v1Key, version } from '../support';
import { inSeconds, keyInfo, parse, SECRET, v2Key, v2RefreshToken, written } from './support';

const validUntil = inSeconds(NOW + 10 * DAY);
const V1 = { apiKey: v1Key(SECRET), refreshToken: 'token', validUntil };
const LEGACY = { ...V1, apiKey: jwt({ cp: 'control.example.com', c: 'cache.example.com' }) };
const V2 = {
  api_key: v2Key('key-1', NOW + 10 * DAY),
  refresh_token: v2RefreshToken('key-1'),
  key_info: keyInfo(),
};

const unusable = new RotationError('MANAGEMENT_KEY_INVALID', 'broken');
const managementKey = {
  list: () => Promise.reject(new Error('not asked')),
  mint: () => Promise.reject(new Error('not asked')),
};
const MANAGEMENT_KEYS = { one: managementKey, broken: unusable };

function means(changes: Partial<Means> = {}): Means {
  return {
    sdk: new Sdk(undefined),
    api: { refresh: () => Promise.reject(new Error('not asked')) },
    managementKey: undefined,
    now: () => NOW,
    ...changes,
  };
}

function secret(role?: string): Secret {
  return {
    ...secretName('projects/p/secrets/s'),
    payload: 'json',
    lifetimeMs: DAY,
    ...(role !== undefined && { role }),
  };
}

function current(payload: string | object) {
  return { version: version(4), credential: parse(payload) };
}

describe('how the next key is got', () => {
  type Key = keyof typeof MANAGEMENT_KEYS | 'none';
  const without = (payload: object, ...names: string[]) =>
    Object.fromEntries(Object.entries(payload).filter(([name]) => !names.includes(name)));
  const noToken = without(V1, 'refreshToken');
  const noTokenV2 = without(V2, 'refresh_token');
  const consoleV2 = { apiKey: V2.api_key, refreshToken: V2.refresh_token, validUntil };

  type Row = [string, object | string | undefined, string | undefined, Key, string];

  test.each<Row>([
    ['a v1 key', V1, undefined, 'none', 'refresh'],
    ['a v1 key', V1, undefined, 'one', 'refresh'],
    ['a v1 key', V1, undefined, 'broken', 'refresh'],
    ['a legacy key', LEGACY, undefined, 'none', 'refresh'],
    ['a v1 key in API JSON', { ...V2, api_key: V1.apiKey }, undefined, 'one', 'refresh'],
    ['a v1 key and a role', V1, 'r-set', 'none', 'MANAGEMENT_KEY_MISSING'],
    ['a v1 key and a role', V1, 'r-set', 'one', 'mint'],
    ['a v1 key and a role', V1, 'r-set', 'broken', 'MANAGEMENT_KEY_INVALID'],
    ['a v1 key without a token', noToken, undefined, 'none', 'KEY_NOT_REFRESHABLE'],
    ['a v1 key without a token', noToken, undefined, 'one', 'KEY_NOT_REFRESHABLE'],
    ['a bare v1 key', V1.apiKey, undefined, 'one', 'KEY_NOT_REFRESHABLE'],
    ['a bare v1 key and a role', V1.apiKey, 'r-set', 'one', 'mint'],

    ['a v2 key', V2, undefined, 'none', 'refresh'],
    ['a v2 key', V2, undefined, 'one', 'mint'],
    ['a v2 key', V2, undefined, 'broken', 'MANAGEMENT_KEY_INVALID'],
    ['a v2 key and a role', V2, 'r-set', 'none', 'MANAGEMENT_KEY_MISSING'],
    ['a v2 key in console JSON', consoleV2, undefined, 'none', 'refresh'],
    ['a v2 key without a token', noTokenV2, undefined, 'none', 'KEY_NOT_REFRESHABLE'],
    ['a v2 key without a token', noTokenV2, undefined, 'one', 'mint'],
    ['a bare v2 key', V2.api_key, undefined, 'none', 'KEY_NOT_REFRESHABLE'],
    ['a bare v2 key', V2.api_key, undefined, 'one', 'mint'],
    [
      'a v2 key beside the token of another',
      { ...V2, refresh_token: v2RefreshToken('key-2') },
      undefined,
      'none',
      'KEY_NOT_REFRESHABLE',
    ],
    [
      'a v2 key with an opaque token',
      { ...V2, refresh_token: SECRET },
      undefined,
      'none',
      'refresh',
    ],

    ...[
      without(V1, 'validUntil'),
      { ...V1, validUntil: null },
      { ...V1, validUntil: 0 },
      { api_key: V1.apiKey, refresh_token: V1.refreshToken },
    ].flatMap((payload): Row[] => {
      return [
        [
          'a v1 key of which nothing tells when it expires',
          payload,
          undefined,
          'one',
          'PAYLOAD_INVALID',
        ],
        ['a v1 key of which nothing tells when it expires', payload, 'r-set', 'one', 'mint'],
      ];
    }),

    ['no version', undefined, undefined, 'one', 'ROLE_UNKNOWN'],
    ['no version and a role', undefined, 'r-set', 'none', 'MANAGEMENT_KEY_MISSING'],
    ['no version and a role', undefined, 'r-set', 'one', 'mint'],
    ['no version and a role', undefined, 'r-set', 'broken', 'MANAGEMENT_KEY_INVALID'],
  ])('%s (%#): role %s, management key %s', async (_name, payload, role, key, expected) => {
    const made = await renewal(
      secret(role),
      payload === undefined ? undefined : current(payload),
      means(key === 'none' ? {} : { managementKey: () => Promise.resolve(MANAGEMENT_KEYS[key]) }),
    );
    expect(made instanceof RotationError ? made.code : made.by).toBe(expected);
  });
});

test.each([
  [V2.api_key, ['with its refresh token', 'set MANAGEMENT_KEY, so that keys are minted']],
  [V1.apiKey, ['with its refresh token', "set MANAGEMENT_KEY and give the secret a 'role'"]],
])('every way out is told (%#)', async (payload, ways) => {
  const obstacle = (await renewal(secret(), current(payload), means())) as RotationError;
  for (const way of ways) expect(obstacle.message).toContain(way);
  expect(obstacle.message).toContain('Readers keep the newest version, whose key');
});

describe('a refresh of a v1 key', () => {
  const answer = {
    apiKey: v1Key('another'),
    refreshToken: 'next',
    endpoint: 'cell-2.example.com',
    expiresAt: ExpiresAt.fromEpoch(inSeconds(NOW + 20 * DAY)),
  };

  test('goes into the payload', () => {
    expect(written(successor(parse(V1), answer))).toEqual({
      apiKey: answer.apiKey,
      refreshToken: 'next',
      validUntil: inSeconds(NOW + 20 * DAY),
    });
  });

  test.each([
    ['no refresh token', { refreshToken: '' }],
    ['a blank refresh token', { refreshToken: ' ' }],
    ['no key', { apiKey: '' }],
    ['a cut key', { apiKey: answer.apiKey.slice(0, -5) }],
    ['no expiry', { expiresAt: ExpiresAt.fromEpoch(undefined) }],
    ['an expiry of 0', { expiresAt: ExpiresAt.fromEpoch(1) }],
  ])('takes no answer with %s', (_name, changes) => {
    const thrown = thrownBy(() => successor(parse(V1), { ...answer, ...changes }));
    expect(thrown).toMatchObject({ code: 'ISSUED_CREDENTIAL_INVALID', mayHaveHadEffect: true });
  });
});

describe('a refresh of a v2 key', () => {
  const answer = {
    api_key: v2Key('key-2', NOW + 20 * DAY),
    refresh_token: v2RefreshToken('key-2'),
    key_info: keyInfo({ key_id: 'key-2', expires_at_epoch_seconds: inSeconds(NOW + 20 * DAY) }),
  };

  async function refresh(answer: object) {
    const spent: string[] = [];
    const api = {
      refresh: (token: string) => {
        spent.push(token);
        return Promise.resolve(answer as never);
      },
    };
    const made = await renewal(secret(), current(V2), means({ api }));
    if (made instanceof RotationError) throw made;
    expect(made.lostAnswers).toBe(1);
    const credential = await made.issue();
    expect(spent).toEqual([V2.refresh_token]);
    return credential;
  }

  test('spends the refresh token', async () => {
    const credential = await refresh(answer);
    expect(credential).toMatchObject({ keyId: 'key-2', expiresAt: NOW + 20 * DAY });
    expect(written(credential)).toEqual(answer);
  });

  test('takes an answer that does not describe the key: it cannot be had twice', async () => {
    const credential = await refresh({ ...answer, key_info: undefined });
    expect(written(credential)).toEqual({
      ...answer,
      key_info: { expires_at_epoch_seconds: inSeconds(NOW + 20 * DAY) },
    });
  });

  test.each([
    ['a v1 key', { api_key: v1Key(SECRET) }],
    ['no key', { api_key: SECRET }],
    ['an expiry in the past', { api_key: v2Key('key-2', NOW - DAY) }],
    ['no expiry', { api_key: v2Key('key-2'), key_info: undefined }],
  ])('takes no answer with %s', async (_name, changes) => {
    await expect(refresh({ ...answer, ...changes })).rejects.toMatchObject({
      code: 'ISSUED_CREDENTIAL_INVALID',
      mayHaveHadEffect: true,
    });
  });
});

test('an unknown path of the refresh: what to do is said, and until when', async () => {
  const unknown = new RotationError('REFRESH_PATH_UNKNOWN', 'No such path.');
  const api = { refresh: () => Promise.reject(unknown) };
  const made = (await renewal(secret(), current(V2), means({ api }))) as Renewal;
  await expect(made.issue()).rejects.toMatchObject({
    code: 'REFRESH_PATH_UNKNOWN',
    message: `No such path. Readers keep the newest version, whose key expires at ${new Date(NOW + 10 * DAY).toISOString()}: act before then.`,
  });
});

describe('a refusal to refresh', () => {
  const cause = new RotationError('REFRESH_REFUSED', 'Momento refused (HTTP 401).');
  const expiry = new Date(NOW + 10 * DAY).toISOString();

  test.each<[string, boolean, number, string, string[]]>([
    ['REFRESH_REFUSED', false, NOW, 'in good time', ['refused (HTTP 401)', 'No run can get past']],
    [
      'REFRESH_ANSWER_LOST',
      true,
      NOW,
      'after a lost answer',
      ['probably spent', `until ${expiry}`],
    ],
    ['KEY_EXPIRED', false, NOW + 10 * DAY, 'of an expired key', ['Readers are refused by Momento']],
    ['KEY_EXPIRED', true, NOW + 11 * DAY, 'of an expired key', ['Readers are refused by Momento']],
  ])('%s (answer lost: %s)', async (code, answerLost, now, _name, texts) => {
    for (const payload of [V1, V2]) {
      const made = await renewal(secret(), current(payload), means());
      if (made instanceof RotationError) throw made;
      const error = made.refusal(cause, { answerLost, now });
      expect(error).toMatchObject({ code, cause });
      const remedy = 'store it as a new version of projects/p/secrets/s';
      for (const text of [...texts, expiry, remedy]) expect(error.message).toContain(text);
    }
  });
});
