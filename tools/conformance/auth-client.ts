/** The rotator's assumptions about v1 keys: Momento's AuthClient and ListCaches, over gRPC. */
import { randomBytes } from 'node:crypto';
import { SECOND } from '../../src/duration';
import { Credential } from '../../src/momento/credential';
import { PROPAGATION_DELAY } from '../../src/rotation/deadlines';
import type { Assumption, Observed } from './assumption';
import { AuthClientTestBed, LIFETIME, type Generated } from './auth-client-test-bed';
import { group } from './group';
import { inTime } from './wait';

/** The codes that the rotator counts as a refusal of a refresh. It retries after all others. */
const REFUSALS = [
  'AUTHENTICATION_ERROR',
  'INVALID_ARGUMENT_ERROR',
  'PERMISSION_ERROR',
  'NOT_FOUND_ERROR',
  'FAILED_PRECONDITION_ERROR',
  'BAD_REQUEST_ERROR',
];

export const ASSUMPTIONS: readonly Assumption<AuthClientTestBed>[] = [
  {
    id: 'v1-refresh-token',
    words: 'a key that expires is generated with a refresh token',
    source: 'documented',
    assumed: 'yes',
    observe: async (testBed) =>
      (await testBed.first()).credential.refreshToken === undefined ? 'no' : 'yes',
  },
  {
    id: 'v1-generate-lifetime',
    words: 'lifetime of a generated key',
    source: 'documented',
    assumed: 'as asked for',
    observe: async (testBed) => lifetime(await testBed.first()),
  },
  {
    id: 'v1-wrong-token',
    words: 'a refresh with a wrong refresh token',
    source: 'guess',
    assumed: 'refused',
    observe: async (testBed) => interpreted(await testBed.wrongToken()),
  },
  {
    id: 'v1-refresh',
    words: 'a refreshed key comes with a refresh token',
    source: 'documented',
    assumed: 'another one',
    observe: async (testBed) => {
      const old = (await testBed.first()).credential.refreshToken;
      const { refreshToken } = (await testBed.refreshed()).credential;
      return refreshToken === old ? 'the same one' : 'another one';
    },
  },
  {
    id: 'v1-refresh-lifetime',
    words: 'lifetime of a refreshed key, from the refresh on',
    source: 'documented',
    assumed: 'as asked for',
    observe: async (testBed) => lifetime(await testBed.refreshed()),
  },
  {
    id: 'v1-refresh-lag',
    words: 'a refreshed key is accepted',
    source: 'guess',
    assumed: `within ${PROPAGATION_DELAY / SECOND} s`,
    observe: async (testBed) => {
      const { credential } = await testBed.refreshed();
      return inTime(testBed.target.clock, PROPAGATION_DELAY, async () => {
        return (await testBed.verify(credential)) === 'accepted';
      });
    },
  },
  {
    id: 'v1-refresh-old-key',
    words: 'the old key after a refresh',
    source: 'documented',
    assumed: 'accepted',
    observe: async (testBed) => {
      await testBed.refreshed();
      return testBed.verify((await testBed.first()).credential);
    },
  },
  {
    id: 'v1-refresh-permissions',
    words: 'ListCaches with a refreshed key, compared with the old key',
    source: 'documented',
    assumed: 'the same',
    observe: async (testBed) => {
      const old = await testBed.listCaches((await testBed.first()).credential);
      const now = await testBed.listCaches((await testBed.refreshed()).credential);
      return old === now ? { is: 'the same', detail: old } : `${now} and not ${old}`;
    },
  },
  {
    id: 'v1-refresh-twice',
    words: 'a refresh token that was used',
    source: 'guess',
    assumed: ['works', 'refused'],
    observe: async (testBed) => interpreted(await testBed.refreshedAgain()),
  },
  {
    id: 'v1-list-caches',
    words: 'ListCaches with the super user key',
    source: 'documented',
    assumed: 'Success',
    observe: (testBed) => testBed.listCaches(testBed.superUserKey),
  },
  {
    id: 'v1-list-caches-data-only',
    words: 'ListCaches with a key that can only read items',
    source: 'guess',
    assumed: ['PERMISSION_ERROR', 'Success'],
    observe: async (testBed) => testBed.listCaches((await testBed.first()).credential),
  },
  {
    id: 'v1-unknown-key',
    words: 'ListCaches with a key that Momento does not know',
    source: 'documented',
    assumed: 'AUTHENTICATION_ERROR',
    observe: async (testBed) => testBed.listCaches(unknownKey((await testBed.first()).credential)),
  },
  {
    id: 'v1-expired',
    words: 'ListCaches with a key that has expired',
    source: 'documented',
    assumed: 'AUTHENTICATION_ERROR',
    observe: async (testBed) => testBed.listCaches(await testBed.expired()),
  },
  {
    id: 'v1-expired-refresh',
    words: 'a refresh of a key that has expired',
    source: 'documented',
    assumed: ['AUTHENTICATION_ERROR', 'INVALID_ARGUMENT_ERROR'],
    observe: async (testBed) => {
      const credential = await testBed.expired();
      return testBed.refresh(credential, credential.refreshToken ?? '');
    },
  },
];

export const authClient = group({
  title: 'v1 keys',
  assumptions: ASSUMPTIONS,
  open: (target) => new AuthClientTestBed(target),
});

/** The rotator's interpretation of the SDK's answer to a refresh. */
function interpreted(answer: string): Observed {
  if (answer === 'Success') return 'works';
  return REFUSALS.includes(answer) ? { is: 'refused', detail: answer } : answer;
}

function lifetime({ credential, askedAt }: Generated): string {
  const seconds = Math.round((credential.expiresAt - askedAt - LIFETIME) / SECOND);
  return Math.abs(seconds) <= 5 ? 'as asked for' : `${seconds} s longer`;
}

/** A v1 key for the same host that Momento never issued. */
function unknownKey({ apiKey }: Credential): Credential {
  const { endpoint } = JSON.parse(Buffer.from(apiKey, 'base64').toString()) as { endpoint: string };
  const inner = [{ alg: 'HS256' }, { sub: 'conformance', exp: 4_000_000_000 }]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .concat(randomBytes(32).toString('base64url'))
    .join('.');
  const json = JSON.stringify({ endpoint, api_key: inner });
  return Credential.parse(Buffer.from(Buffer.from(json).toString('base64')));
}
