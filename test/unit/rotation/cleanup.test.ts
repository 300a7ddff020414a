import {
  applyCleanup,
  describePlan,
  planCleanup,
  type Cleanup,
  type CleanupInput,
} from '../../../src/rotation/cleanup';
import type { Inspection } from '../../../src/rotation/inspect';
import {
  REVOKE_BATCH,
  type KeySession,
  type OwnKey,
  type SecretStore,
  type Version,
} from '../../../src/rotation/ports';
import { DAY, HOUR, inTurn, MINUTE, SECOND, version } from '../support';
import {
  effects,
  error,
  key,
  ownKey,
  SECRET,
  STORE_REFUSES,
  testBed,
  UNAVAILABLE,
  type Plan,
} from './test-bed';

/** Version 4 is the newest, and 2 is enabled. The others were disabled. */
const VERSIONS = [version(1, 'DISABLED'), version(2), version(3, 'DISABLED'), version(4)];
const DESTROYS: Plan['policy'] = { destroyAfterMs: 0 };
const REFUSED_KEY = error('MANAGEMENT_KEY_REFUSED');
const BLOCKED = { step: 'verify', error: error('VERIFY_INCONCLUSIVE') } as const;

const REVOKES: Plan['policy'] = { revoke: true, gracePeriodMs: 30 * DAY };
/** k2 is in an enabled version, k4 in the newest. */
const KEYS = ['k1', 'k2', 'k3', 'k4', 'orphan'].map((name) => ownKey(name));
const MINTED: Plan = { versions: VERSIONS, policy: REVOKES, ownKeys: KEYS, next: { by: 'mint' } };

function inputIn(
  { inspection }: ReturnType<typeof testBed>,
  changes: Partial<CleanupInput> = {},
): CleanupInput {
  const { versions } = inspection;
  return { inspection, versions, newest: version(4), keyId: 'k4', isCertain: true, ...changes };
}

const numbers = (versions: readonly Version[]) => versions.map(({ number }) => number);
const summaryOf = ({ disable, destroy, ...rest }: Cleanup) => ({
  ...rest,
  disable: numbers(disable),
  destroy: numbers(destroy),
});

async function clean(bed: ReturnType<typeof testBed>, changes: Partial<CleanupInput> = {}) {
  const start = bed.clock.monotonic();
  const run = bed.begin();
  const cleanup = await applyCleanup(run, planCleanup(run, inputIn(bed, changes)));
  return { ...summaryOf(cleanup), calls: bed.calls, took: bed.clock.monotonic() - start };
}

function cleanIn(plan: Plan = {}, changes: Partial<CleanupInput> = {}) {
  return clean(testBed({ versions: VERSIONS, policy: DESTROYS, ...plan }), changes);
}

function planIn(plan: Plan, changes: Partial<CleanupInput> = {}) {
  const bed = testBed({ versions: VERSIONS, ...plan });
  const run = bed.begin({ dryRun: true });
  return describePlan(run, planCleanup(run, inputIn(bed, changes))).then((cleanup) => ({
    ...summaryOf(cleanup),
    calls: bed.calls,
  }));
}

describe('superseded versions', () => {
  test('are disabled and destroyed', async () => {
    const { disable, destroy, failures, calls } = await cleanIn();
    expect([disable, destroy, failures]).toEqual([[2], [1, 3], []]);
    expect(calls).toEqual(['disable 2', 'destroy 1', 'destroy 3']);
  });

  const GRACE = { gracePeriodMs: 7 * DAY, ...DESTROYS };
  const LATER = { destroyAfterMs: 7 * DAY };

  test.each<[string, Plan['policy'], string[]]>([
    ['stay enabled within the grace period', GRACE, ['destroy 1', 'destroy 3']],
    ['stay disabled until they are old enough', LATER, ['disable 2', 'destroy 1']],
    ['stay disabled when nothing is destroyed', {}, ['disable 2']],
  ])('%s', async (_name, policy, calls) => {
    expect((await cleanIn({ policy })).calls).toEqual(calls);
  });

  test('are changed as they were listed, and with the newest version as the guard of the call', async () => {
    const seen: Version[][] = [];
    const change = (_: unknown, changed: Version, newer: Version) =>
      Promise.resolve(seen.push([changed, newer]) > 0);
    await cleanIn({ store: { disable: change, destroy: change } });
    expect(seen).toEqual([
      [version(2), version(4)],
      [version(1, 'DISABLED'), version(4)],
      [version(3, 'DISABLED'), version(4)],
    ]);
  });

  test.each<[string, Partial<CleanupInput>, Partial<Inspection>?]>([
    ["it isn't certain which version is the newest", { isCertain: false }],
    ["the newest key isn't verified", { blocked: BLOCKED }],
    ['the newest version was unreadable', {}, { unreadable: new Map([[4, 'reason']]) }],
  ])('are left alone when %s', async (_name, changes, found = {}) => {
    const bed = testBed({ versions: VERSIONS, policy: DESTROYS });
    const inspection = { ...bed.inspection, ...found };
    const { calls, disable, destroy } = await clean(bed, { ...changes, inspection });
    expect([calls, disable, destroy]).toEqual([[], [], []]);
  });

  test('report the unverified key only when something was due', async () => {
    expect((await cleanIn({}, { blocked: BLOCKED })).failures).toEqual([BLOCKED]);
    expect((await cleanIn({ versions: [version(4)] }, { blocked: BLOCKED })).failures).toEqual([]);
  });

  test('are planned without the versions for which a permission is missing', async () => {
    const bed = testBed({ versions: VERSIONS, policy: DESTROYS });
    const inspection = { ...bed.inspection, missing: ['disable' as const] };
    const expected = { disable: [], destroy: [1, 3], failures: [] };
    expect(await clean(bed, { inspection })).toMatchObject(expected);
  });
});

describe('a change of a version that fails', () => {
  const fails = (code: Parameters<typeof error>[0], ...of: number[]) => {
    return (_: unknown, { number }: Version) =>
      of.includes(number) ? Promise.reject(error(code)) : Promise.resolve(true);
  };

  const destroyFails = { step: 'destroy', error: { code: 'SECRET_MANAGER_REFUSED' } };
  const disableFails = { step: 'disable', error: { code: 'SECRET_MANAGER_UNAVAILABLE' } };

  test('for one version, lets the others be changed', async () => {
    const store = { destroy: fails('SECRET_MANAGER_REFUSED', 1) };
    const expected = { disable: [2], destroy: [3], failures: [destroyFails] };
    expect(await cleanIn({ store })).toMatchObject(expected);
  });

  test('in each step, is reported once for each step', async () => {
    const disable = fails('SECRET_MANAGER_UNAVAILABLE', 2);
    const destroy = fails('SECRET_MANAGER_REFUSED', 1, 3);
    const expected = { disable: [], destroy: [], failures: [disableFails, destroyFails] };
    expect(await cleanIn({ store: { disable, destroy } })).toMatchObject(expected);
  });

  test('is retried when it is transient', async () => {
    const store = { disable: inTurn<boolean>(UNAVAILABLE, UNAVAILABLE, true) };
    expect(await cleanIn({ store })).toMatchObject({ disable: [2], failures: [] });
  });

  test('because another process changed the version, is left to the next run', async () => {
    expect(await cleanIn({ store: { disable: inTurn(false) } })).toMatchObject({
      disable: [],
      failures: [],
      warnings: [expect.stringMatching(/^version 2 changed during the run .*next run checks it$/)],
    });
  });

  test.each(['SECRET_MANAGER_UNAVAILABLE', 'PERMISSION_MISSING'] as const)(
    'with %s for all, stops before the other versions',
    async (code) => {
      const many = Array.from({ length: 200 }, (_, index) => version(index + 1));
      const bed = testBed({ versions: many, store: { disable: inTurn<never>(error(code)) } });
      const { failures, calls } = await clean(bed, { newest: version(200) });
      expect(failures).toMatchObject([{ step: 'disable', error: { code } }]);
      expect(new Set(calls).size).toBe(8);
    },
  );
});

test('changes eight versions of a secret at the same time', async () => {
  let active = 0;
  let most = 0;
  const many = Array.from({ length: 100 }, (_, index) => version(index + 1));
  const disable = async (): Promise<boolean> => {
    most = Math.max(most, ++active);
    await bed.clock.sleep(SECOND);
    active -= 1;
    return true;
  };
  const bed = testBed({ versions: many, store: { disable } });
  const { disable: disabled, took } = await clean(bed, { newest: version(100) });
  expect(disabled).toEqual(many.slice(0, -1).map(({ number }) => number));
  expect(most).toBe(8);
  expect(took).toBe(13 * SECOND);
});

describe('orphaned keys', () => {
  test('are revoked', async () => {
    const { revoke, calls, failures } = await cleanIn(MINTED);
    expect([revoke, failures]).toEqual([['k1', 'k3', 'orphan'], []]);
    expect(calls).toEqual(['revoke k1', 'revoke k3', 'revoke orphan']);
  });

  test('are revoked in the run that disables their version', async () => {
    const ownKeys = [ownKey('k2'), ownKey('k4')];
    const { calls } = await cleanIn({ ...MINTED, policy: { revoke: true }, ownKeys });
    expect(calls).toEqual(['disable 2', 'revoke k2']);
  });

  const undisabled = { policy: { revoke: true }, store: { disable: inTurn(false) } };

  test.each<[string, Plan]>([
    ['their version could not be disabled', undisabled],
    ['REVOKE is off', { policy: { ...REVOKES, revoke: false } }],
    [
      'they are not an hour old: another run might be about to add them',
      { ownKeys: [ownKey('k2', HOUR), ownKey('x', 1)] },
    ],
    ['the list has none of this secret', { ownKeys: [] }],
  ])('are left alone when %s', async (_name, changes) => {
    const { revoke } = await cleanIn({ ...MINTED, ownKeys: [ownKey('k2')], ...changes });
    expect(revoke).toEqual([]);
  });

  test('are left alone while they are unsaved', async () => {
    const bed = testBed(MINTED);
    const credential = key('orphan');
    bed.unsaved.set(SECRET, { credential, by: 'refresh', issuedAt: 0, newestAtIssue: 4 });
    expect((await clean(bed)).revoke).toEqual(['k1', 'k3']);
  });

  test('cost no read of a version when only the newest key is in the list', async () => {
    const store = { access: inTurn<never>(STORE_REFUSES) };
    const cleanup = await cleanIn({ ...MINTED, ownKeys: [ownKey('k4')], store });
    expect([cleanup.revoke, cleanup.failures]).toEqual([[], []]);
  });

  test('are revoked even if the newest version is unknown after a failed add', async () => {
    const { calls } = await cleanIn({ ...MINTED, policy: { revoke: true } }, { isCertain: false });
    expect(calls).toEqual(['revoke k1', 'revoke k3', 'revoke orphan']);
  });

  test('are left alone while a superseded version is unreadable, which is disabled as usual', async () => {
    const plan = { ...MINTED, unreadable: [2] };
    const warning =
      "no key was revoked in this run: version 2 is enabled and can't be read (FAILED_PRECONDITION)";
    expect(await cleanIn(plan)).toMatchObject({ calls: [], failures: [], warnings: [warning] });
    const { calls } = await cleanIn({ ...plan, policy: { revoke: true } });
    expect(calls).toEqual(['disable 2', 'revoke k1', 'revoke k2', 'revoke k3', 'revoke orphan']);
  });

  const listFails = (failure: Error): Plan => ({ session: { ownKeys: inTurn<never>(failure) } });

  test.each<[string, Plan, string, Partial<CleanupInput>?]>([
    ["the newest key isn't verified", {}, 'VERIFY_INCONCLUSIVE', { blocked: BLOCKED }],
    ['a version contains something unknown', { contents: { 2: '?' } }, 'KEYS_NOT_REVOKED'],
    [
      "versions can't be read",
      { store: { access: inTurn<never>(STORE_REFUSES) } },
      'KEYS_NOT_REVOKED',
    ],
    ["keys can't be listed", listFails(error('MOMENTO_UNAVAILABLE')), 'KEYS_NOT_REVOKED'],
    ['the management key is refused', listFails(REFUSED_KEY), 'MANAGEMENT_KEY_REFUSED'],
    ['something unexpected happens', listFails(new TypeError('planted')), 'INTERNAL'],
  ])(
    'are left alone, and the run is incomplete, when %s',
    async (_name, plan, code, changes = {}) => {
      const { revoke, calls, failures } = await cleanIn({ ...MINTED, ...plan }, changes);
      expect([revoke, effects(calls)]).toEqual([[], []]);
      expect(failures).toMatchObject([{ error: { code } }]);
    },
  );

  test('report an unverified key only when a key is orphaned', async () => {
    const plan = { ...MINTED, ownKeys: [ownKey('k2')] };
    const { failures } = await cleanIn(plan, { blocked: BLOCKED });
    expect(failures).toEqual([]);
  });

  test("don't fail a refreshed secret for the management key", async () => {
    const refreshed: Plan = { policy: { revoke: true }, next: { by: 'refresh' } };
    expect(await cleanIn({ ...MINTED, ...listFails(REFUSED_KEY), ...refreshed })).toMatchObject({
      disable: [2],
      failures: [],
      warnings: [expect.stringMatching(/^revoke: MANAGEMENT_KEY_REFUSED: /)],
    });
  });

  test("don't hold up versions while the list of keys is awaited, for two minutes at most", async () => {
    let disabledAfter = Infinity;
    const disable = () => {
      disabledAfter = bed.clock.monotonic() - start;
      return Promise.resolve(true);
    };
    const busy = listFails(error('MOMENTO_LIMIT_EXCEEDED'));
    const bed = testBed({ ...MINTED, ...busy, policy: { revoke: true }, store: { disable } });
    const start = bed.clock.monotonic();
    const { failures, took } = await clean(bed);
    expect(failures).toMatchObject([{ step: 'revoke', error: { code: 'KEYS_NOT_REVOKED' } }]);
    expect(disabledAfter).toBeLessThan(SECOND);
    expect(took).toBeLessThanOrEqual(2 * MINUTE);
  });

  test('have the warnings of the list', async () => {
    const session = { ownKeys: inTurn({ keys: KEYS, skipped: 2, warnings: ['2 were skipped'] }) };
    const { revoke, warnings } = await cleanIn({ ...MINTED, session });
    expect(revoke).toEqual(['k1', 'k3', 'orphan']);
    expect(warnings).toEqual(['2 were skipped']);
  });
});

describe('revocations', () => {
  const orphans = (count: number): OwnKey[] =>
    Array.from({ length: count }, (_, index) => ownKey(`o${index}`));

  /** A test bed whose issuer calls `before` ahead of each batch. */
  function bedWith(
    count: number,
    before: (batch: readonly string[]) => Promise<void> | void,
    plan: Plan = {},
  ) {
    const batches: string[][] = [];
    const bed = testBed({
      ...MINTED,
      ownKeys: orphans(count),
      ...plan,
      session: {
        revoke: async (keyIds, recheck) => {
          await before(keyIds);
          const rechecked = await recheck(keyIds);
          batches.push([...rechecked]);
          return new Map(rechecked.map((keyId) => [keyId, true as const]));
        },
        ...plan.session,
      },
    });
    return { bed, batches };
  }

  test('are made in batches of five', async () => {
    const { bed, batches } = bedWith(12, () => undefined);
    expect((await clean(bed)).revoke).toHaveLength(12);
    expect(batches.map((batch) => batch.length)).toEqual([REVOKE_BATCH, REVOKE_BATCH, 2]);
  });

  test.each([
    [5, 10],
    [40, 40],
  ])(
    'of n = %d keys read v = %d versions at most (v + n/5·v) times, apart from the check for a newer one',
    async (n, v) => {
      const versions = Array.from({ length: v }, (_, index) =>
        version(index + 1, index < 5 ? 'DISABLED' : 'ENABLED'),
      );
      const plan: Plan = { ...MINTED, versions, ownKeys: orphans(n) };
      const memory = testBed(plan).environment.store;
      const reads: (number | 'latest')[] = [];
      const access: SecretStore['access'] = (secret, number, limits) => {
        reads.push(number);
        return memory.access(secret, number, limits);
      };
      const bed = testBed({ ...plan, store: { access } });
      const { revoke } = await clean(bed, { versions, newest: version(v), keyId: `k${v}` });
      expect(revoke).toHaveLength(n);
      // The first lookup serves the first batch, too.
      const lookups = n / REVOKE_BATCH;
      expect(reads.filter((number) => number !== v + 1)).toHaveLength(lookups * v);
      expect(reads.filter((number) => number === v + 1)).toHaveLength(lookups);
    },
  );

  const put =
    (number: number, content: Uint8Array) =>
    ({ versions, payloads }: ReturnType<typeof testBed>): void => {
      versions.set(number, version(number));
      payloads.set(number, content);
    };

  test.each([
    ['nothing changed', () => undefined, ['o0']],
    ['an operator added a version', put(5, key('o0').serialize()), []],
    ['an operator enabled a version with the key', put(1, key('o0').serialize()), []],
    ['an operator enabled a version with an unknown payload', put(1, Buffer.from('?')), []],
  ])(
    'look up references again after the wait for the rate limiter: %s',
    async (_, change, expected) => {
      const wait = async (): Promise<void> => {
        await bed.clock.sleep(SECOND);
        change(bed);
      };
      const { bed } = bedWith(1, wait);
      expect((await clean(bed)).revoke).toEqual(expected);
    },
  );

  test('stop after a batch that was not rechecked', async () => {
    const { bed, batches } = bedWith(15, async () => {
      await bed.clock.sleep(SECOND);
      bed.versions.set(5, version(5));
    });
    const { revoke, warnings, failures } = await clean(bed);
    expect([revoke, failures]).toEqual([[], []]);
    expect(warnings).toEqual(['no key was revoked in this run: version 5 was just added']);
    expect(batches).toEqual([[]]);
  });

  test('take no turn of the rate limiter for keys that versions contain', async () => {
    const { bed, batches } = bedWith(1, () => undefined);
    bed.payloads.set(1, key('o0').serialize());
    bed.versions.set(1, version(1));
    expect((await clean(bed)).revoke).toEqual([]);
    expect(batches).toEqual([]);
  });

  test('stop when the time of the run is over, and the next run continues', async () => {
    const { bed } = bedWith(15, () => bed.clock.sleep(300 * SECOND));
    const { revoke, failures } = await clean(bed);
    expect(revoke).toHaveLength(10);
    expect(failures).toEqual([]);
  });

  test('are repeated for the keys that failed with a transient error', async () => {
    const attempts: string[][] = [];
    const revoke: KeySession['revoke'] = (keyIds) => {
      attempts.push([...keyIds]);
      const failure = attempts.length === 1 ? error('MOMENTO_UNAVAILABLE') : undefined;
      return Promise.resolve(
        new Map(keyIds.map((id) => [id, (id === 'o1' ? failure : undefined) ?? true])),
      );
    };
    const { bed } = bedWith(3, () => undefined, { session: { revoke } });
    expect(await clean(bed)).toMatchObject({ revoke: ['o0', 'o2', 'o1'], failures: [] });
    expect(attempts).toEqual([['o0', 'o1', 'o2'], ['o1']]);
  });

  const failing = (code: Parameters<typeof error>[0]): Plan['session'] => ({
    revoke: (keyIds) =>
      Promise.resolve(
        new Map(keyIds.map((keyId) => [keyId, keyId === 'o1' ? error(code) : (true as const)])),
      ),
  });

  test('go on when one key can not be revoked, and the run is incomplete', async () => {
    const { bed } = bedWith(12, () => undefined, { session: failing('SECRET_MANAGER_REFUSED') });
    const { revoke, failures } = await clean(bed);
    expect(revoke).toHaveLength(11);
    expect(failures).toMatchObject([{ step: 'revoke', error: { code: 'KEYS_NOT_REVOKED' } }]);
  });

  test.each(['MOMENTO_UNAVAILABLE', 'MOMENTO_LIMIT_EXCEEDED', 'MANAGEMENT_KEY_REFUSED'] as const)(
    'stop after a batch that failed with %s',
    async (code) => {
      const { bed } = bedWith(12, () => undefined, { session: failing(code) });
      const { revoke, failures } = await clean(bed);
      expect(revoke).toHaveLength(4);
      expect(failures).toHaveLength(1);
    },
  );
});

describe('live keys', () => {
  const refreshed: Plan = { policy: {}, next: { by: 'refresh' } };
  const unlisted: Plan = { policy: {}, session: { ownKeys: inTurn<never>(STORE_REFUSES) } };

  test.each<[string, Plan, number | undefined]>([
    ['are counted for a minted secret, even without REVOKE', { policy: {} }, 5],
    ['are counted with REVOKE', {}, 5],
    ["aren't counted for a refreshed secret without REVOKE", refreshed, undefined],
    ["aren't counted when the list fails", unlisted, undefined],
  ])('%s', async (_name, changes, expected) => {
    const { liveKeys, failures } = await cleanIn({ ...MINTED, ...changes });
    expect(liveKeys).toBe(expected);
    expect(failures).toEqual([]);
  });

  test('are counted when cleanup is blocked', async () => {
    const plan = { ...MINTED, policy: { revoke: true } };
    const { liveKeys } = await cleanIn(plan, { blocked: BLOCKED });
    expect(liveKeys).toBe(5);
  });
});

describe('planCleanup', () => {
  /** A dry run of a rotation: version 5 doesn't exist. */
  const PLANNED: Partial<CleanupInput> = { newest: version(5), keyId: undefined };

  const AT_ONCE: Plan = { policy: { revoke: true } };
  const ALL = ['k1', 'k2', 'k3', 'k4', 'orphan'];
  const ORPHANS = ['k1', 'k3', 'orphan'];

  test.each<[string, Plan, Partial<CleanupInput>, number[], string[]]>([
    ['without a rotation', {}, {}, [], ORPHANS],
    ['with a rotation, within the grace period', {}, PLANNED, [], ORPHANS],
    ['after the grace period', AT_ONCE, {}, [2], ['k1', 'k2', 'k3', 'orphan']],
    ['with a rotation and no grace period', AT_ONCE, PLANNED, [2, 4], ALL],
    ['without REVOKE', { policy: {} }, PLANNED, [2, 4], []],
  ])(
    '%s, plans what applyCleanup does, and changes nothing',
    async (_, plan, input, ...expected) => {
      const [disable, revoke] = expected;
      const unchanged = { calls: [], failures: [], liveKeys: 5 };
      expect(await planIn({ ...MINTED, ...plan }, input)).toMatchObject({
        disable,
        revoke,
        ...unchanged,
      });
    },
  );

  const EVERYTHING: Plan = { policy: { revoke: true, ...DESTROYS } };

  test.each<[string, Plan, string, Partial<CleanupInput>?]>([
    ['a version contains something unknown', { contents: { 2: '?' } }, 'KEYS_NOT_REVOKED'],
    [
      "keys can't be listed",
      { session: { ownKeys: inTurn<never>(STORE_REFUSES) } },
      'KEYS_NOT_REVOKED',
    ],
    ["the newest key isn't verified", EVERYTHING, 'VERIFY_INCONCLUSIVE', { blocked: BLOCKED }],
  ])('fails and plans nothing when %s', async (_name, plan, code, input = {}) => {
    const nothing = { disable: [], destroy: [], revoke: [], calls: [] };
    const planned = await planIn({ ...MINTED, ...plan }, input);
    expect(planned).toMatchObject({ ...nothing, failures: [{ error: { code } }] });
  });
});
