/** The rotator's assumptions about Secret Manager. */
import { crc32c } from '@aws-crypto/crc32c';
import { MINUTE, SECOND } from '../../src/duration';
import type { Permission } from '../../src/rotation/ports';
import { callOptions } from '../../src/secret-manager/client';
import { failed, type Assumption } from './assumption';
import { group } from './group';
import { beside, elsewhere, TIME_LIMIT, SecretManagerTestBed } from './secret-manager-test-bed';
import { inTime } from './wait';

const PERMISSIONS: readonly Permission[] = ['access', 'list', 'add', 'disable', 'destroy'];
/** The location in names of regional secrets that don't exist. */
const LOCATION = 'europe-west3';
const IN_TIME = `within ${TIME_LIMIT / MINUTE} min`;

type Access = (request: { name: string }, options: object) => Promise<unknown>;

export const ASSUMPTIONS: readonly Assumption<SecretManagerTestBed>[] = [
  {
    id: 'sm-latest-of-none',
    words: 'access to latest, where there is no version',
    source: 'documented',
    assumed: 'NOT_FOUND',
    observe: (testBed) => testBed.accessedEmpty(),
  },
  {
    id: 'sm-add-checksum',
    words: 'the checksum (CRC32C) that an addition sends along',
    source: 'documented',
    assumed: 'checked',
    observe: async (testBed) =>
      (await testBed.first()).clientSpecifiedPayloadChecksum === true ? 'checked' : 'ignored',
  },
  {
    id: 'sm-add-wrong-checksum',
    words: 'an addition with a wrong checksum',
    source: 'documented',
    assumed: 'INVALID_ARGUMENT',
    observe: (testBed) => testBed.wrongChecksum(),
  },
  {
    id: 'sm-add-largest',
    words: 'the addition of 64 KiB',
    source: 'documented',
    assumed: 'added',
    observe: async (testBed) =>
      (await testBed.third()).state === 'ENABLED' ? 'added' : 'not enabled',
  },
  {
    id: 'sm-add-numbers',
    words: 'the numbers of versions, one after the other',
    source: 'measured',
    assumed: '1, 2, 3',
    observe: async (testBed) => {
      const first = /\d+$/.exec((await testBed.first()).name ?? '')?.[0] ?? '?';
      return [first, (await testBed.second()).version.number, (await testBed.third()).number].join(
        ', ',
      );
    },
  },
  {
    id: 'sm-add-time',
    words: "the creation time of a version is this machine's time",
    source: 'documented',
    assumed: 'within a minute',
    observe: async (testBed) => {
      const seconds = Number((await testBed.first()).createTime?.seconds ?? 0);
      const late = Math.round(testBed.firstAskedAt / SECOND - seconds);
      return Math.abs(late) * SECOND <= MINUTE ? 'within a minute' : `${late} s off`;
    },
  },
  {
    id: 'sm-access-number',
    words: 'access by number, at once after the addition',
    source: 'documented',
    assumed: 'what was added',
    observe: async (testBed) => {
      const { version, payload } = await testBed.second();
      const found = await testBed.store.access(testBed.secret, version.number, testBed.limits);
      if (found.kind !== 'payload') return 'nothing';
      return payload.equals(found.payload) ? 'what was added' : 'something else';
    },
  },
  {
    id: 'sm-access-checksum',
    words: 'the checksum that comes with a payload',
    source: 'documented',
    assumed: 'right',
    observe: async (testBed) => {
      const { payload } = await testBed.second();
      const client = await testBed.client();
      const [answer] = await client.accessSecretVersion({ name: testBed.name(2) }, callOptions());
      const checksum = answer.payload?.dataCrc32c;
      if (checksum == null) return 'missing';
      return Number(checksum) === crc32c(payload) ? 'right' : 'wrong';
    },
  },
  {
    id: 'sm-access-no-number',
    words: 'access by a number that no version has',
    source: 'documented',
    assumed: 'NOT_FOUND',
    observe: async (testBed) => testBed.access((await testBed.third()).number + 1),
  },
  {
    id: 'sm-access-latest',
    words: 'latest is the version that was added last',
    source: 'documented',
    assumed: IN_TIME,
    observe: async (testBed) => {
      const { number } = await testBed.third();
      return inTime(testBed.target.clock, TIME_LIMIT, async () => {
        const found = await testBed.store.access(testBed.secret, 'latest', testBed.limits);
        return found.kind === 'payload' && found.number === number;
      });
    },
  },
  {
    id: 'sm-list',
    words: 'a list has every version that was added',
    source: 'documented',
    assumed: IN_TIME,
    observe: async (testBed) => (await testBed.listed()).isShown,
  },
  {
    id: 'sm-name',
    words: 'the project in the name of a version',
    source: 'measured',
    assumed: 'its number',
    observe: async (testBed) => {
      await testBed.listed();
      const { canonicalName = '' } = await testBed.store.list(testBed.secret, testBed.limits);
      return /^projects\/\d+\//.test(canonicalName) ? 'its number' : 'another name';
    },
  },
  {
    id: 'sm-list-pages',
    words: 'a list in pages of two has every version',
    source: 'documented',
    assumed: 'once',
    observe: async (testBed) => {
      await testBed.listed();
      const client = await testBed.client();
      const seen: (string | null | undefined)[] = [];
      let pageToken = '';
      do {
        const [page, , answer] = await client.listSecretVersions(
          { parent: testBed.secret.name, pageSize: 2, pageToken },
          { ...callOptions(), autoPaginate: false },
        );
        if (page.length > 2) return `on a page of ${page.length}`;
        seen.push(...page.map(({ name }) => name));
        pageToken = answer.nextPageToken ?? '';
      } while (pageToken !== '' && seen.length <= 3);
      return seen.length === 3 && new Set(seen).size === 3 ? 'once' : `${seen.length} entries`;
    },
  },
  {
    id: 'sm-permissions',
    words: `TestIamPermissions on the secret, for what the function needs: missing are`,
    source: 'documented',
    assumed: 'none',
    observe: async (testBed) => {
      await testBed.accessedEmpty();
      const missing = await testBed.store.missingPermissions(
        testBed.secret,
        PERMISSIONS,
        testBed.limits,
      );
      return missing.join(', ') || 'none';
    },
  },
  {
    id: 'sm-permissions-no-secret',
    words: 'TestIamPermissions on a secret that does not exist',
    source: 'guess',
    assumed: ['none granted', 'NOT_FOUND', 'PERMISSION_DENIED'],
    observe: async (testBed) => {
      const client = await testBed.client();
      const resource = beside(testBed.secret, 'missing').name;
      let granted = 0;
      const permissions = ['secretmanager.versions.add'];
      const status = await testBed.outcome(
        client.testIamPermissions({ resource, permissions }, callOptions()).then(([answer]) => {
          granted = answer.permissions?.length ?? 0;
        }),
      );
      if (status !== 'OK') return status;
      return granted === 0 ? 'none granted' : 'granted';
    },
  },
  {
    id: 'sm-no-secret',
    words: 'access to a secret that does not exist',
    source: 'documented',
    assumed: ['NOT_FOUND', 'PERMISSION_DENIED'],
    observe: (testBed) => testBed.access('latest', beside(testBed.secret, 'missing')),
  },
  {
    id: 'sm-etag-listed',
    words: 'disabling a version with the etag from the list',
    source: 'documented',
    assumed: 'done',
    observe: async (testBed) => {
      const { isDone, version } = await testBed.disabled();
      if (version.etag === undefined) return 'there is no etag';
      return isDone ? 'done' : 'refused';
    },
  },
  {
    id: 'sm-disabled-access',
    words: 'access by number to a disabled version',
    source: 'documented',
    assumed: 'FAILED_PRECONDITION',
    observe: (testBed) => testBed.accessedDisabled(),
  },
  {
    id: 'sm-disabled-get',
    words: 'the state that a disabled version itself shows at once',
    source: 'guess',
    assumed: ['DISABLED', 'ENABLED'],
    observe: async (testBed) => {
      await testBed.accessedDisabled();
      return (await testBed.store.get(testBed.secret, 1, testBed.limits))?.state ?? 'none';
    },
  },
  {
    id: 'sm-etag-changes',
    words: 'the etag of a version whose state has changed',
    source: 'documented',
    assumed: 'another one',
    observe: async (testBed) => {
      const { version } = await testBed.disabled();
      const { etag } = await testBed.enabled();
      if (etag == null || etag === '') return 'there is none';
      return etag === version.etag ? 'the same one' : 'another one';
    },
  },
  {
    id: 'sm-etag-old',
    words: 'disabling a version with an etag from before a change',
    source: 'documented',
    assumed: ['FAILED_PRECONDITION', 'ABORTED'],
    observe: (testBed) => testBed.disabledByOldEtag(),
  },
  {
    id: 'sm-destroy',
    words: 'the state of a version that is destroyed',
    source: 'documented',
    assumed: 'DESTROYED',
    observe: async (testBed) => String((await testBed.destroyed()).state),
  },
  {
    id: 'sm-destroyed-access',
    words: 'access by number to a destroyed version',
    source: 'documented',
    assumed: 'FAILED_PRECONDITION',
    observe: async (testBed) => {
      await testBed.destroyed();
      return testBed.access(1);
    },
  },
  {
    id: 'sm-destroyed-listed',
    words: 'a list shows a destroyed version as such',
    source: 'documented',
    assumed: IN_TIME,
    observe: async (testBed) => {
      await testBed.destroyed();
      return inTime(testBed.target.clock, TIME_LIMIT, async () => {
        const { versions } = await testBed.store.list(testBed.secret, testBed.limits);
        return versions.find(({ number }) => number === 1)?.state === 'DESTROYED';
      });
    },
  },
  {
    id: 'sm-destroy-delayed',
    words: 'destroying a version where the secret delays that (version_destroy_ttl)',
    source: 'documented',
    assumed: 'DISABLED, with a time',
    observe: async (testBed) => {
      const { state, scheduledDestroyTime } = await testBed.destroyedWithDelay();
      return `${String(state)}, with ${scheduledDestroyTime == null ? 'no' : 'a'} time`;
    },
  },
  {
    id: 'sm-latest-disabled',
    words: 'access to latest, where the newest version is disabled, is refused',
    source: 'documented',
    assumed: IN_TIME,
    observe: async (testBed) => {
      await testBed.newestDisabled();
      return inTime(testBed.target.clock, TIME_LIMIT, async () => {
        return (await testBed.access('latest')) === 'FAILED_PRECONDITION';
      });
    },
  },
  {
    id: 'sm-endpoint-global',
    words: 'access at the global endpoint to a regional name',
    source: 'measured',
    assumed: 'INVALID_ARGUMENT',
    observe: (testBed) => {
      const { secret } = testBed;
      const regional = elsewhere(secret, secret.location ?? LOCATION);
      return testBed.access('latest', regional, elsewhere(secret));
    },
  },
  {
    id: 'sm-endpoint-regional',
    words: 'access at the endpoint of a location to a missing regional secret',
    source: 'documented',
    assumed: ['NOT_FOUND', 'PERMISSION_DENIED'],
    observe: (testBed) => {
      const { secret } = testBed;
      const missing = beside(elsewhere(secret, secret.location ?? LOCATION), 'missing');
      return testBed.access('latest', missing);
    },
  },
  {
    id: 'sm-routing-header',
    words: 'access with a routing header that names another secret',
    source: 'guess',
    assumed: ['OK', 'INVALID_ARGUMENT', 'PERMISSION_DENIED', 'NOT_FOUND'],
    observe: async (testBed) => {
      await testBed.second();
      const client = await testBed.client();
      const other = encodeURIComponent(testBed.name(2, beside(testBed.secret, 'missing')));
      // The client's public method would overwrite the routing header.
      const access = client.innerApiCalls.accessSecretVersion as Access | undefined;
      if (access === undefined) return failed('the client has no such call');
      const otherArgs = { headers: { 'x-goog-request-params': `name=${other}` } };
      return testBed.outcome(access({ name: testBed.name(2) }, { ...callOptions(), otherArgs }));
    },
  },
];

export const secretManager = group({
  title: 'Secret Manager',
  assumptions: ASSUMPTIONS,
  open: (target) => new SecretManagerTestBed(target),
});
