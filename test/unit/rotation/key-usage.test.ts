import fc from 'fast-check';
import { exists } from '../../../src/rotation/inspect';
import { orphanedKeys } from '../../../src/rotation/key-usage';
import type { Version } from '../../../src/rotation/ports';
import { inTurn, version } from '../support';
import { error, key, STORE_REFUSES, testBed, type Plan } from './test-bed';

/** Version 4 is the newest, 3 is superseded, and 2 was disabled. */
const VERSIONS = [version(1, 'DESTROYED'), version(2, 'DISABLED'), version(3), version(4)];
const KEYS = ['k1', 'k2', 'k3', 'k4', 'orphan'];

function orphansIn(plan: Plan = {}, listed = plan.versions ?? VERSIONS, ignore: Version[] = []) {
  return orphanedKeys(testBed({ versions: VERSIONS, ...plan }).begin(), KEYS, listed, ignore);
}

/** Counts the reads of a test bed's store. */
function counted(plan: Plan) {
  const reads: number[] = [];
  let active = 0;
  let most = 0;
  const memory = testBed(plan).environment.store;
  const store: Plan['store'] = {
    access: async (secret, number, limits) => {
      reads.push(Number(number));
      most = Math.max(most, ++active);
      await new Promise((resolve) => setImmediate(resolve));
      active -= 1;
      return memory.access(secret, number, limits);
    },
  };
  return { plan: { ...plan, store }, reads, most: () => most };
}

test('returns the keys that no enabled version contains', async () => {
  expect(await orphansIn()).toEqual(['k1', 'k2', 'orphan']);
});

const ENABLED = [version(2), version(3), version(4)];
const UNLISTED = VERSIONS.filter(({ number }) => number !== 3);
const PUT_BACK = { contents: { 3: key('k2') } };
const ONLY_4 = ['k1', 'k2', 'k3', 'orphan'];

test.each<[string, Plan, Version[] | undefined, readonly string[]]>([
  ['counts a key that was stored again', PUT_BACK, undefined, ['k1', 'k3', 'orphan']],
  [
    'counts a version that a list shows disabled',
    { versions: ENABLED },
    VERSIONS,
    ['k1', 'orphan'],
  ],
  ['counts a version that no list shows', PUT_BACK, UNLISTED, ['k1', 'k3', 'orphan']],
  [
    'counts no version that is gone and was listed as disabled',
    { versions: [version(4)] },
    [version(3, 'DISABLED'), version(4)],
    ONLY_4,
  ],
  [
    'counts no version that became disabled',
    { versions: [version(3, 'DISABLED'), version(4)] },
    [version(3), version(4)],
    ONLY_4,
  ],
])('%s', async (_name, plan, listed, expected) => {
  expect(await orphansIn(plan, listed)).toEqual(expected);
});

test('ignores versions that a dry run would disable', async () => {
  expect(await orphansIn({}, VERSIONS, [version(3)])).toEqual(['k1', 'k2', 'k3', 'orphan']);
});

const UNREADABLE = "version 3 is enabled and can't be read (FAILED_PRECONDITION)";
const NEWER = 'version 5 was just added';
const withNewer = (state: Version['state']) => ({ versions: [...VERSIONS, version(5, state)] });
const denied = { get: inTurn<never>(error('PERMISSION_MISSING')) };

test.each<[string, Plan, Version[] | undefined, string]>([
  ["an enabled version can't be read", { unreadable: [3] }, undefined, UNREADABLE],
  ["an unlisted enabled version can't be read", { unreadable: [3] }, UNLISTED, UNREADABLE],
  [
    "a version can't be read and the function isn't allowed to get it",
    { unreadable: [3], store: denied },
    undefined,
    UNREADABLE,
  ],
  ['a newer version exists', withNewer('ENABLED'), VERSIONS, NEWER],
  ['a newer version exists in any state', withNewer('DISABLED'), VERSIONS, NEWER],
])('is uncertain when %s', async (_name, plan, listed, uncertain) => {
  expect(await orphansIn(plan, listed)).toEqual({ uncertain });
});

test("is uncertain when a version is listed as enabled and can't be found", async () => {
  const bed = testBed({ versions: [version(3), version(4)] });
  const { versions } = bed.inspection;
  bed.versions.delete(3);
  expect(await orphanedKeys(bed.begin(), ['k3'], versions)).toEqual({
    uncertain: "version 3 is listed as enabled and can't be found",
  });
});

test('keeps a key that the newest version of another secret contains', async () => {
  const bed = testBed({ versions: [version(4)], keyIdsInOtherSecrets: new Set(['copied']) });
  const { versions } = bed.inspection;
  expect(await orphanedKeys(bed.begin(), ['copied', 'orphan'], versions)).toEqual(['orphan']);
});

test('fails when a version contains something unknown, and names it', async () => {
  await expect(orphansIn({ contents: { 3: '?' } })).rejects.toMatchObject({
    code: 'KEYS_NOT_REVOKED',
    problem: expect.stringContaining('Version 3 of projects/p/secrets/s') as string,
    action: expect.stringContaining('Disable version 3') as string,
  });
});

test('fails when a version cannot be accessed', async () => {
  await expect(orphansIn({ store: { access: inTurn<never>(STORE_REFUSES) } })).rejects.toBe(
    STORE_REFUSES,
  );
});

test('reads nothing when there are no keys', async () => {
  const { plan, reads } = counted({ versions: VERSIONS });
  expect(await orphanedKeys(testBed(plan).begin(), [], VERSIONS)).toEqual([]);
  expect(reads).toEqual([]);
});

test('reads each version once that is not destroyed, and the next number, however many keys there are', async () => {
  const { plan, reads } = counted({ versions: VERSIONS });
  await orphansIn(plan);
  expect(reads.toSorted()).toEqual([2, 3, 4, 5]);
});

test('reads 16 versions at a time', async () => {
  const versions = Array.from({ length: 100 }, (_, index) => version(index + 1));
  const { plan, reads, most } = counted({ versions });
  await orphansIn(plan);
  expect(reads).toHaveLength(101);
  expect(most()).toBe(17);
});

test.each([
  ['ENABLED', true],
  ['DISABLED', true],
  ['DESTROYED', true],
  [undefined, false],
] as const)('exists for a version that is %s: %s', async (state, expected) => {
  const versions = state === undefined ? [] : [version(5, state)];
  expect(await exists(testBed({ versions }).begin(), 5)).toBe(expected);
});

test('never takes a key for orphaned that an enabled version contains, whatever the list shows', async () => {
  const state = fc.constantFrom('ENABLED' as const, 'DISABLED' as const, 'DESTROYED' as const);
  const content = fc.constantFrom(...KEYS);
  const one = fc.record({ state, content, isUnreadable: fc.boolean() });
  const arbitrary = fc.record({
    /** The versions from 1, with the key in each. */
    actual: fc.array(one, { minLength: 1, maxLength: 6 }),
    /** Which of them the list shows, perhaps in an older state. */
    listed: fc.array(fc.record({ index: fc.nat({ max: 5 }), isLagging: fc.boolean() })),
  });
  await fc.assert(
    fc.asyncProperty(arbitrary, async ({ actual, listed }) => {
      const versions = actual.map((each, index) => version(index + 1, each.state));
      const contents = Object.fromEntries(
        actual.map(({ content }, index) => [index + 1, key(content)]),
      );
      const unreadable = actual.flatMap((each, index) => (each.isUnreadable ? [index + 1] : []));
      // A list lags in states, but nothing comes back from destruction.
      const before = { ENABLED: 'DISABLED', DISABLED: 'ENABLED', DESTROYED: 'DISABLED' } as const;
      const shown = listed.flatMap(({ index, isLagging }) => {
        const found = versions[index];
        if (found === undefined) return [];
        return [{ ...found, state: isLagging ? before[found.state] : found.state }];
      });
      const newest = Math.max(0, ...shown.map(({ number }) => number));
      const orphans = await orphansIn({ versions, contents, unreadable }, shown);
      if (newest < versions.length) {
        expect(orphans).toHaveProperty('uncertain');
        return;
      }
      const isReferenced = (keyId: string) =>
        actual.some(
          (each) => each.state === 'ENABLED' && !each.isUnreadable && each.content === keyId,
        );
      if ('uncertain' in orphans) expect(unreadable).not.toEqual([]);
      else for (const keyId of orphans) expect(isReferenced(keyId)).toBe(false);
    }),
  );
});

test('reads nothing when the list misses more versions than a lag explains', async () => {
  const versions = [version(3), version(4), version(1e15 - 1)];
  const { plan, reads } = counted({ versions });
  expect(await orphansIn(plan, versions)).toEqual({
    uncertain: 'the list shows 3 of 999999999999999 versions',
  });
  expect(reads).toEqual([]);
});
