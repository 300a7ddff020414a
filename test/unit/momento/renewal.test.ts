import { systemClock } from '../../../src/clock';
import { RotationError } from '../../../src/errors';
import { managementKeyInvalid } from '../../../src/momento/errors';
import { nextKey, type RenewalServices } from '../../../src/momento/renewal';
import { Sdk } from '../../../src/momento/sdk';
import type { Secret } from '../../../src/rotation/ports';
import { DAY, jwt, NOW, secretName, v1Key, version } from '../support';
import { inSeconds, keyInfo, parse, SECRET, v2Key, v2RefreshToken } from './support';

const validUntil = inSeconds(NOW + 10 * DAY);
const V1 = { apiKey: v1Key(SECRET), refreshToken: 'token', validUntil };
const LEGACY = { ...V1, apiKey: jwt({ cp: 'control.example.com', c: 'cache.example.com' }) };
const V2 = {
  api_key: v2Key('key-1', NOW + 10 * DAY),
  refresh_token: v2RefreshToken('key-1'),
  key_info: keyInfo(),
};

const unusable = managementKeyInvalid('projects/p/secrets/management', 'it is empty');
const unused = () => Promise.reject(new Error('not called'));
const managementKey = { list: unused, count: unused, mint: unused };
const MANAGEMENT_KEYS = { one: managementKey, broken: unusable };

function services(changes: Partial<RenewalServices> = {}): RenewalServices {
  return {
    sdk: new Sdk(systemClock, undefined),
    api: { refresh: unused },
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

function current(payload: string | object | undefined) {
  return payload === undefined ? undefined : { version: version(4), credential: parse(payload) };
}

describe('how the next key is obtained', () => {
  type Key = keyof typeof MANAGEMENT_KEYS | 'none';
  const without = (payload: object, ...names: string[]) =>
    Object.fromEntries(Object.entries(payload).filter(([name]) => !names.includes(name)));
  const noToken = without(V1, 'refreshToken');
  const noTokenV2 = without(V2, 'refresh_token');
  const consoleV2 = { apiKey: V2.api_key, refreshToken: V2.refresh_token, validUntil };

  const notItsToken = { ...V2, refresh_token: v2RefreshToken('key-2') };

  type Row = [string, object | string | undefined, string | undefined, Key, string];

  test.each<Row>([
    ['a v1 key', V1, undefined, 'none', 'refresh'],
    ['a v1 key', V1, undefined, 'one', 'refresh'],
    ['a v1 key', V1, undefined, 'broken', 'refresh'],
    ['a legacy key', LEGACY, undefined, 'none', 'refresh'],
    ['a v1 key in API JSON', { ...V2, api_key: V1.apiKey }, undefined, 'one', 'refresh'],
    ['a v1 key and a role', V1, 'r-set', 'one', 'mint'],
    ['a v1 key and a role', V1, 'r-set', 'broken', 'MANAGEMENT_KEY_INVALID'],
    ['a v1 key without a token', noToken, undefined, 'none', 'KEY_NOT_REFRESHABLE'],
    ['a v1 key without a token', noToken, undefined, 'one', 'KEY_NOT_REFRESHABLE'],
    ['a bare v1 key', V1.apiKey, undefined, 'one', 'KEY_NOT_REFRESHABLE'],
    ['a bare v1 key and a role', V1.apiKey, 'r-set', 'one', 'mint'],

    ['a v2 key', V2, undefined, 'none', 'refresh'],
    ['a v2 key', V2, undefined, 'one', 'mint'],
    ['a v2 key', V2, undefined, 'broken', 'MANAGEMENT_KEY_INVALID'],
    ['a v2 key in console JSON', consoleV2, undefined, 'none', 'refresh'],
    ['a v2 key without a token', noTokenV2, undefined, 'none', 'KEY_NOT_REFRESHABLE'],
    ['a v2 key without a token', noTokenV2, undefined, 'one', 'mint'],
    ['a bare v2 key', V2.api_key, undefined, 'none', 'KEY_NOT_REFRESHABLE'],
    ['a bare v2 key', V2.api_key, undefined, 'one', 'mint'],
    ["another key's token", notItsToken, undefined, 'none', 'KEY_NOT_REFRESHABLE'],
    ['an opaque token', { ...V2, refresh_token: SECRET }, undefined, 'none', 'refresh'],

    ...[
      without(V1, 'validUntil'),
      { ...V1, validUntil: null },
      { ...V1, validUntil: 0 },
      { api_key: V1.apiKey, refresh_token: V1.refreshToken },
    ].flatMap((payload): Row[] => [
      ['a v1 key without an expiry', payload, undefined, 'one', 'PAYLOAD_INVALID'],
      ['a v1 key without an expiry', payload, 'r-set', 'one', 'mint'],
    ]),

    ['no version', undefined, undefined, 'none', 'ROLE_UNKNOWN'],
    ['no version', undefined, undefined, 'one', 'ROLE_UNKNOWN'],
    ['no version and a role', undefined, 'r-set', 'one', 'mint'],
    ['no version and a role', undefined, 'r-set', 'broken', 'MANAGEMENT_KEY_INVALID'],
  ])('%s (%#): role %s, management key %s', async (_name, payload, role, key, expected) => {
    const one = { managementKey: () => Promise.resolve(MANAGEMENT_KEYS[key as 'one']) };
    const made = await nextKey(secret(role), current(payload), services(key === 'none' ? {} : one));
    expect(made instanceof RotationError ? made.code : made.by).toBe(expected);
  });
});

test.each([
  [V2.api_key, 'set MANAGEMENT_KEY, so that keys are minted'],
  [V1.apiKey, "set MANAGEMENT_KEY and the secret's 'role', so that keys are minted"],
])('a key without a refresh token is blocked with the ways out (%#)', async (payload, way) => {
  const blocker = await nextKey(secret(), current(payload), services());
  const { problem, action } = blocker as RotationError;
  expect(problem).toContain('projects/p/secrets/s');
  expect(problem).toContain('contains no refresh token');
  expect(action).toContain('with its refresh token');
  expect(action).toContain(way);
});

test('a minted secret needs no readable version if its role and lifetime are configured', async () => {
  const minted = services({ managementKey: () => Promise.resolve(managementKey) });
  expect(await nextKey(secret('r-set'), undefined, minted)).toMatchObject({ by: 'mint' });
  const unlimited = { ...secret('r-set'), lifetimeMs: undefined };
  expect(await nextKey(unlimited, undefined, minted)).toMatchObject({ code: 'LIFETIME_UNKNOWN' });
});
