/** The rotator's assumptions about v2 keys: Momento's key API over HTTP, and ListCaches with a v2 key. */
import { randomBytes } from 'node:crypto';
import { SECOND } from '../../src/duration';
import { keyIdOfRefreshToken, readKey } from '../../src/momento/api-key';
import type { ListedKey } from '../../src/momento/key-api';
import { PROPAGATION_DELAY } from '../../src/rotation/deadlines';
import { NotChecked, type Assumption } from './assumption';
import { group } from './group';
import { KeyApiTestBed, NO_ROLE, type KeyInfo } from './key-api-test-bed';
import { howSoon, inTime } from './wait';

const MANY_CALLS = 15;

export const ASSUMPTIONS: readonly Assumption<KeyApiTestBed>[] = [
  {
    id: 'v2-refresh-path',
    words: 'a refresh token at MOMENTO_REFRESH_PATH',
    source: 'documented',
    assumed: '200',
    observe: async (testBed) => (await testBed.refreshed()).status,
  },
  {
    id: 'v2-refresh-unknown-path',
    words: 'a refresh token at a wrong path, which must not use it',
    source: 'guess',
    assumed: ['404', '405'],
    observe: async (testBed) => (await testBed.wrongPath()).status,
  },
  {
    id: 'v2-refresh-token',
    words: 'the refresh token of a minted key names as its key (akid)',
    source: 'documented',
    assumed: 'that key',
    observe: async (testBed) => {
      const key = (await testBed.refreshable()).key();
      const named = keyIdOfRefreshToken(key.refresh_token ?? '');
      return named === key.key_info.key_id ? 'that key' : named === undefined ? 'none' : 'another';
    },
  },
  {
    id: 'v2-refresh-kind',
    words: 'role and description of a refreshed key',
    source: 'documented',
    assumed: 'as before',
    observe: async (testBed) => {
      const { old, key } = await testBed.refreshedKey();
      return differing(old.key_info, key.key_info, ['role_id', 'description']);
    },
  },
  {
    id: 'v2-refresh-lifetime',
    words: 'lifetime of a refreshed key, from the refresh on',
    source: 'documented',
    assumed: 'as before',
    observe: async (testBed) => {
      const { old, key } = await testBed.refreshedKey();
      const seconds = lifetime(key.key_info) - lifetime(old.key_info);
      return Math.abs(seconds) <= 5 ? 'as before' : `${seconds} s longer`;
    },
  },
  {
    id: 'v2-refresh-previous-key',
    words: 'the key that the answer names as the refreshed one (previous_key_id)',
    source: 'documented',
    assumed: 'that key',
    observe: async (testBed) => {
      const { old, key } = await testBed.refreshedKey();
      if (key.previous_key_id === undefined) return 'none';
      return key.previous_key_id === old.key_info.key_id ? 'that key' : 'another';
    },
  },
  {
    id: 'v2-refresh-next-token',
    words: 'a refreshed key comes with a refresh token',
    source: 'documented',
    assumed: 'another one',
    observe: async (testBed) => {
      const { old, key } = await testBed.refreshedKey();
      if (key.refresh_token === undefined) return 'none';
      return key.refresh_token === old.refresh_token ? 'the same one' : 'another one';
    },
  },
  {
    id: 'v2-refresh-old-key',
    words: 'the old key after a refresh',
    source: 'documented',
    assumed: 'accepted',
    observe: async (testBed) => testBed.verify((await testBed.refreshedKey()).old.api_key),
  },
  {
    id: 'v2-refresh-once',
    words: 'a refresh token that was used',
    source: 'documented',
    assumed: 'refused',
    observe: async (testBed) => (Number(await testBed.usedAgain()) < 300 ? 'accepted' : 'refused'),
  },
  {
    id: 'v2-refresh-refusal',
    words: 'the status for a refresh token that was used',
    source: 'documented',
    assumed: '403',
    observe: (testBed) => testBed.usedAgain(),
  },
  {
    id: 'v2-refresh-revoked',
    words: 'the refresh token of a key that was revoked',
    source: 'documented',
    assumed: '401',
    observe: async (testBed) => testBed.use((await testBed.revokedRefreshable()).key),
  },
  {
    id: 'v2-authorization',
    words: 'the management key, in Authorization without Bearer, to list keys',
    source: 'documented',
    assumed: '200',
    observe: (testBed) => testBed.status(testBed.managementKey.apiKey),
  },
  {
    id: 'v2-unknown-key',
    words: 'a key that Momento does not know',
    source: 'documented',
    assumed: '401',
    observe: (testBed) => testBed.status(unknownKey()),
  },
  {
    id: 'v2-v1-key',
    words: 'a v1 key at the key API',
    source: 'documented',
    assumed: ['401', '403'],
    observe: (testBed) => {
      const { v1Key } = testBed.target;
      if (v1Key === undefined) throw new NotChecked('CONFORMANCE_V1_KEY is not set');
      return testBed.status(v1Key.apiKey);
    },
  },
  {
    id: 'v2-other-role',
    words: 'a key of CONFORMANCE_ROLE, to list keys',
    source: 'guess',
    assumed: ['403', '200'],
    observe: async (testBed) => testBed.status((await testBed.first()).key.api_key),
  },
  {
    id: 'v2-mint-id',
    words: 'the id in a minted key (jti), and in its key_info',
    source: 'documented',
    assumed: 'the same',
    observe: async (testBed) => {
      const { key } = await testBed.first();
      return readKey(key.api_key)?.id === key.key_info.key_id ? 'the same' : 'different';
    },
  },
  {
    id: 'v2-mint-role',
    words: 'the role of a minted key',
    source: 'documented',
    assumed: 'as asked for',
    observe: async (testBed) =>
      (await testBed.first()).key.key_info.role_id === testBed.target.role
        ? 'as asked for'
        : 'another',
  },
  {
    id: 'v2-mint-expiry',
    words: 'the expiry of a minted key (exp), and in its key_info',
    source: 'documented',
    assumed: 'as asked for',
    observe: async (testBed) => {
      const { key, expiresAt } = await testBed.first();
      const seconds = [
        (readKey(key.api_key)?.expiresAt ?? Infinity) / SECOND,
        key.key_info.expires_at_epoch_seconds ?? Infinity,
      ].map((expiry) => expiry - expiresAt / SECOND);
      const isAsAsked = seconds.every((difference) => difference === 0);
      return isAsAsked ? 'as asked for' : seconds.map((late) => `${late} s later`).join(' and ');
    },
  },
  {
    id: 'v2-mint-no-token',
    words: 'exclude_refresh_token: a refresh token is',
    source: 'documented',
    assumed: 'left out',
    observe: async (testBed) =>
      (await testBed.twin()).key().refresh_token === undefined ? 'left out' : 'there',
  },
  {
    id: 'v2-mint-same-description',
    words: 'minting a second key of the same description',
    source: 'guess',
    assumed: '200',
    observe: async (testBed) => (await testBed.twin()).status,
  },
  {
    id: 'v2-mint-old-key',
    words: 'the first of two keys, when the second is minted',
    source: 'documented',
    assumed: 'accepted',
    observe: async (testBed) => {
      await testBed.twin();
      return testBed.verify((await testBed.first()).key.api_key);
    },
  },
  {
    id: 'v2-mint-lag',
    words: 'a new key is accepted',
    source: 'guess',
    assumed: `within ${PROPAGATION_DELAY / SECOND} s`,
    observe: async (testBed) => {
      const { api_key } = (await testBed.longDescribed()).key();
      return inTime(testBed.target.clock, PROPAGATION_DELAY, async () => {
        return (await testBed.verify(api_key)) === 'accepted';
      });
    },
  },
  {
    id: 'v2-mint-unknown-role',
    words: "minting a key with a role that doesn't exist",
    source: 'documented',
    assumed: '404',
    observe: async (testBed) => String((await testBed.mint({ role_id: NO_ROLE })).status),
  },
  {
    id: 'v2-mint-own-role',
    words: "minting a key of the management key's own role, which so renews itself",
    source: 'guess',
    assumed: '200',
    observe: async (testBed) => (await testBed.ofOwnRole()).status,
  },
  {
    id: 'v2-list-info',
    words: 'role, issue and expiry of a key in the list, and in the answer that made it',
    source: 'documented',
    assumed: 'the same',
    observe: async (testBed) => {
      const { key_info } = (await testBed.first()).key;
      const listed = find(await testBed.list(), key_info.key_id);
      if (listed === undefined) return 'not listed';
      const { role, issuedAt, expiresAt } = listed;
      const expected = [key_info.role_id, key_info.issued_at_epoch_seconds, expiryOf(key_info)];
      const names = ['role_id', 'issued_at_epoch_seconds', 'expires_at_epoch_seconds'];
      const found = [role, issuedAt / SECOND, expiresAt / SECOND];
      const different = names.filter((_, index) => expected[index] !== found[index]);
      return different.length === 0 ? 'the same' : `another ${different.join(' and ')}`;
    },
  },
  {
    id: 'v2-list-description',
    words: 'the description of a key in the list',
    source: 'documented',
    assumed: 'kept as a whole',
    observe: async (testBed) => {
      const { key_info } = (await testBed.first()).key;
      return kept(await testBed.list(), key_info, testBed.description);
    },
  },
  {
    id: 'v2-list-long-description',
    words: 'a description as long as for the longest name of a secret, in the list',
    source: 'guess',
    assumed: 'kept as a whole',
    observe: async (testBed) => {
      const { key_info } = (await testBed.longDescribed()).key();
      return kept(await testBed.list(), key_info, testBed.longDescription);
    },
  },
  {
    id: 'v2-list-issued-at',
    words: "issued_at of a new key is this machine's time",
    source: 'documented',
    assumed: 'within a minute',
    observe: async (testBed) => {
      const { issued_at_epoch_seconds: issued } = (await testBed.first()).key.key_info;
      const seconds = Math.round(testBed.firstAskedAt / SECOND - issued);
      return Math.abs(seconds) <= 60 ? 'within a minute' : `${seconds} s off`;
    },
  },
  {
    id: 'v2-list-itself',
    words: 'the management key itself in the list',
    source: 'guess',
    assumed: 'listed',
    observe: async (testBed) => {
      const { keyId } = testBed.managementKey;
      if (keyId === undefined) return 'it has no id';
      return find(await testBed.list(), keyId) === undefined ? 'missing' : 'listed';
    },
  },
  {
    id: 'v2-list-pages',
    words: 'a list in several pages has every key',
    source: 'documented',
    assumed: 'once',
    observe: pages,
  },
  {
    id: 'v2-revoke',
    words: 'revoking a key',
    source: 'documented',
    assumed: '200',
    observe: async (testBed) => (await testBed.revoked()).status,
  },
  {
    id: 'v2-revoke-at-once',
    words: 'a revoked key is rejected',
    source: 'documented',
    assumed: 'at once',
    observe: async (testBed) => {
      const { api_key } = (await testBed.revoked()).key;
      return howSoon(testBed.target.clock, async () => {
        return (await testBed.verify(api_key)) === 'rejected';
      });
    },
  },
  {
    id: 'v2-revoke-listed',
    words: 'a revoked key in the list',
    source: 'documented',
    assumed: 'gone',
    observe: async (testBed) => {
      const { key_info } = (await testBed.revoked()).key;
      return find(await testBed.list(), key_info.key_id) === undefined ? 'gone' : 'listed';
    },
  },
  {
    id: 'v2-revoke-twice',
    words: 'revoking a key that is revoked',
    source: 'documented',
    assumed: '404',
    observe: async (testBed) => testBed.delete((await testBed.revoked()).key.key_info.key_id),
  },
  {
    id: 'v2-revoke-itself',
    words: 'a key that revokes itself',
    source: 'documented',
    assumed: '200',
    observe: async (testBed) => {
      const key = (await testBed.ofOwnRole()).key();
      return testBed.delete(key.key_info.key_id, key.api_key);
    },
  },
  {
    id: 'v2-list-caches',
    words: 'ListCaches with a key of CONFORMANCE_ROLE',
    source: 'guess',
    assumed: ['Success', 'PERMISSION_ERROR'],
    observe: async (testBed) => testBed.listCaches((await testBed.first()).key.api_key),
  },
  {
    id: 'v2-list-caches-unknown',
    words: 'ListCaches with a key that Momento does not know',
    source: 'documented',
    assumed: 'AUTHENTICATION_ERROR',
    observe: (testBed) => testBed.listCaches(unknownKey()),
  },
  {
    id: 'v2-two-keys',
    words: 'two keys, an unknown one and the first again, on one connection',
    source: 'guess',
    assumed: 'accepted, accepted, rejected, accepted',
    observe: async (testBed) => {
      const first = (await testBed.first()).key.api_key;
      const keys = [first, testBed.managementKey.apiKey, unknownKey(), first];
      return (await testBed.onOneConnection(keys)).join(', ');
    },
  },
  {
    id: 'v2-list-caches-revoked',
    words: 'ListCaches rejects a revoked key',
    source: 'documented',
    assumed: 'at once',
    observe: async (testBed) => {
      const { api_key } = (await testBed.revoked()).key;
      return howSoon(testBed.target.clock, async () => {
        return (await testBed.listCaches(api_key)) === 'AUTHENTICATION_ERROR';
      });
    },
  },
  {
    id: 'v2-expired',
    words: 'a key that has expired',
    source: 'documented',
    assumed: '401',
    observe: async (testBed) => testBed.status((await testBed.expired()).api_key),
  },
  {
    id: 'v2-expired-refresh',
    words: 'the refresh token of a key that has expired',
    source: 'documented',
    assumed: '401',
    observe: async (testBed) => testBed.use(await testBed.expired()),
  },
  {
    id: 'v2-expired-listed',
    words: 'a key that has expired, in the list',
    source: 'guess',
    assumed: ['gone', 'listed with its expiry'],
    observe: async (testBed) => {
      const { key_info } = await testBed.expired();
      const listed = find(await testBed.list(), key_info.key_id);
      if (listed === undefined) return 'gone';
      return listed.expiresAt / SECOND === expiryOf(key_info)
        ? 'listed with its expiry'
        : 'listed without';
    },
  },
  {
    id: 'v2-rate',
    words: `of ${MANY_CALLS} calls, five a second, Momento throttles`,
    source: 'guess',
    assumed: 'none',
    observe: async (testBed) => {
      let throttled = 0;
      for (let n = 0; n < MANY_CALLS; n += 1) {
        if ((await testBed.send(testBed.managementKey.apiKey)).status === 429) throttled += 1;
      }
      return throttled === 0 ? 'none' : String(throttled);
    },
  },
];

export const keyApi = group({
  title: 'v2 keys',
  assumptions: ASSUMPTIONS,
  open: (target) => new KeyApiTestBed(target),
});

/** A key in the format of v2 keys that Momento never issued. */
function unknownKey(): string {
  const claims = { t: 'g', jti: 'conformance', exp: 4_000_000_000 };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part(claims)}.${randomBytes(32).toString('base64url')}`;
}

function lifetime(info: KeyInfo): number {
  return expiryOf(info) - info.issued_at_epoch_seconds;
}

/** The expiry in epoch seconds. */
function expiryOf({ expires_at_epoch_seconds: expiry }: KeyInfo): number {
  return expiry ?? Infinity;
}

function find(keys: readonly ListedKey[], keyId: string): ListedKey | undefined {
  return keys.find((key) => key.keyId === keyId);
}

function differing(old: KeyInfo, other: KeyInfo, fields: readonly (keyof KeyInfo)[]): string {
  const different = fields.filter((field) => old[field] !== other[field]);
  return different.length === 0 ? 'as before' : `another ${different.join(' and ')}`;
}

function kept(keys: readonly ListedKey[], { key_id }: KeyInfo, description: string): string {
  const listed = find(keys, key_id);
  if (listed === undefined) return 'not listed';
  if (listed.description === description) return 'kept as a whole';
  return `changed, to ${listed.description?.length ?? 0} characters`;
}

/** Reads the list in about three pages. If an account has many keys, pages of one key would take too long. */
async function pages(testBed: KeyApiTestBed): Promise<string> {
  await testBed.longDescribed();
  const whole = (await testBed.list()).map(({ keyId }) => keyId);
  const limit = Math.min(100, Math.ceil(whole.length / 3));
  const seen: string[] = [];
  let next: string | undefined;
  do {
    const page = await testBed.page(limit, next);
    seen.push(...(page.key_info ?? []).map(({ key_id }) => key_id));
    next = page.next_token === '' ? undefined : (page.next_token ?? undefined);
  } while (next !== undefined && seen.length <= whole.length);
  const missing = whole.filter((keyId) => !seen.includes(keyId));
  if (missing.length > 0) return `${missing.length} are missing`;
  return new Set(seen).size === seen.length ? 'once' : 'some twice';
}
