import fc from 'fast-check';
import type { Inspection } from '../../../src/rotation/inspect';
import {
  decide,
  DEFAULT_MINIMUM_MS,
  knownIssueTime,
  newestVersion,
  orphanCandidates,
  permissionsFor,
  planVersions,
  renewalTime,
  replaceRejected,
  visibleBlocker,
  type Decision,
  type RenewalPolicy,
  type Situation,
  type VersionPlan,
} from '../../../src/rotation/policy';
import type { KeyCheck, NextKey, Version } from '../../../src/rotation/ports';
import { DAY, HOUR, NOW, version } from '../support';
import { error, EXPIRES_AT, key, ownKey } from './test-bed';

/** Version 4 was created five days ago, and its key has ten days left. */
const NEWEST = version(4);
const BLOCKER = error('KEY_NOT_REFRESHABLE');
const REFRESH = { by: 'refresh' } as NextKey;
const MINT = { by: 'mint' } as NextKey;

const EVERY_RUN: RenewalPolicy = { gracePeriodMs: 0, verify: true, revoke: false };
const LATE: RenewalPolicy = { ...EVERY_RUN, renewBefore: { minimumMs: 3 * DAY } };

type Changes = Partial<Inspection> & Partial<Omit<Situation, 'inspection'>>;

function inspection(changes: Partial<Inspection> = {}): Inspection {
  return {
    versions: [NEWEST],
    newest: NEWEST,
    readable: NEWEST,
    current: { version: NEWEST, credential: key('k4') },
    unreadable: new Map(),
    missing: [],
    next: REFRESH,
    warnings: [],
    ...changes,
  };
}

function situation({ hasUnsaved, now, scheduledAt, force, ...found }: Changes = {}): Situation {
  return {
    inspection: inspection(found),
    hasUnsaved: hasUnsaved ?? false,
    now: now ?? NOW,
    force: force ?? false,
    scheduledAt,
  };
}

describe('decide', () => {
  const DISABLED = version(5, 'DISABLED', NOW);
  const UNREADABLE: Changes = {
    newest: version(5),
    readable: undefined,
    current: undefined,
    unreadable: new Map([[5, 'FAILED_PRECONDITION']]),
    next: MINT,
  };

  test.each<[string, Changes, RenewalPolicy, string]>([
    ['no renewal time is configured', {}, EVERY_RUN, 'every run rotates'],
    [
      'the renewal time is now',
      { now: EXPIRES_AT - 3 * DAY },
      LATE,
      'due since 2026-11-08T00:00:00.000Z',
    ],
    ['the key expired', { now: EXPIRES_AT }, LATE, 'the key expired at 2026-11-11T00:00:00.000Z'],
    [
      'the key expired, even if a version was added since the scheduled time',
      { now: EXPIRES_AT, scheduledAt: NOW - 9 * DAY },
      LATE,
      'the key expired at 2026-11-11T00:00:00.000Z',
    ],
    [
      'the key never expires',
      { current: { version: NEWEST, credential: key('k4', Infinity) } },
      LATE,
      'the key never expires',
    ],
    ['the run is forced', { force: true }, LATE, 'forced'],
    [
      'the run is forced, even if a version was added since the scheduled time',
      { force: true, scheduledAt: NOW - 9 * DAY },
      LATE,
      'forced',
    ],
    [
      'the newest version was created just before the scheduled time',
      { scheduledAt: NOW - 5 * DAY + 1 },
      EVERY_RUN,
      'every run rotates',
    ],
    [
      'the newest version is disabled, whenever it was created',
      { newest: DISABLED, scheduledAt: NOW - HOUR },
      LATE,
      'version 5, the newest, is disabled',
    ],
    [
      'the newest version is destroyed',
      { newest: version(5, 'DESTROYED') },
      LATE,
      'version 5, the newest, is destroyed',
    ],
    [
      'the newest version of a minted secret is unreadable',
      { ...UNREADABLE, scheduledAt: NOW - 9 * DAY },
      LATE,
      "version 5, the newest, is enabled and can't be read (FAILED_PRECONDITION)",
    ],
    ['the secret is empty', { newest: undefined, current: undefined }, LATE, 'the secret is empty'],
    [
      'a credential is unsaved, whatever the scheduled time',
      { hasUnsaved: true, scheduledAt: NOW - 9 * DAY },
      LATE,
      "an earlier run issued a key that isn't stored yet",
    ],
    [
      'a credential is unsaved, even if no other can be issued',
      { hasUnsaved: true, next: BLOCKER },
      LATE,
      "an earlier run issued a key that isn't stored yet",
    ],
  ])('rotates when %s', (_name, changes, policy, reason) => {
    expect(decide(situation(changes), policy)).toEqual({ action: 'rotate', reason });
  });

  test.each<[string, Changes, RenewalPolicy, Partial<Decision>]>([
    [
      "the renewal time isn't reached by a millisecond",
      { now: EXPIRES_AT - 3 * DAY - 1 },
      LATE,
      { outcome: 'not_due', reason: 'due at 2026-11-08T00:00:00.000Z' },
    ],
    [
      'the newest version was created at the scheduled time',
      { scheduledAt: NOW - 5 * DAY },
      EVERY_RUN,
      { outcome: 'already_rotated', reason: "version 4 was added since this run's scheduled time" },
    ],
  ])('keeps the key when %s', (_name, changes, policy, kept) => {
    expect(decide(situation(changes), policy)).toEqual({ action: 'keep', ...kept });
  });

  test.each<[string, Changes]>([
    ['the renewal is due', { now: EXPIRES_AT - DAY }],
    ["the renewal isn't due", { now: NOW - 9 * DAY }],
    ['the run is forced', { force: true }],
    ['a version was added since the scheduled time', { scheduledAt: NOW - 9 * DAY }],
    [
      "an unsaved credential can't be stored for lack of a permission",
      { hasUnsaved: true, missing: ['add'] },
    ],
  ])('reports a blocker when %s', (_name, changes) => {
    expect(decide(situation({ next: BLOCKER, ...changes }), LATE)).toEqual({
      action: 'block',
      error: BLOCKER,
    });
  });

  test('follows its order of rules in every situation', () => {
    const arbitrary = fc.record({
      isBlocked: fc.boolean(),
      isMissing: fc.boolean(),
      hasUnsaved: fc.boolean(),
      force: fc.boolean(),
      isUsable: fc.boolean(),
      age: fc.integer({ min: 0, max: 40 }),
      left: fc.oneof(fc.integer({ min: -3, max: 40 }), fc.constant(Infinity)),
      scheduled: fc.option(fc.integer({ min: -3, max: 40 })),
      share: fc.option(fc.double({ min: 0.01, max: 0.99, noNaN: true })),
    });
    fc.assert(
      fc.property(arbitrary, (input) => {
        const newest = version(4, input.isUsable ? 'ENABLED' : 'DISABLED', NOW - input.age * DAY);
        const current = {
          version: input.isUsable ? newest : version(3),
          credential: key('k', NOW + input.left * DAY),
        };
        const scheduledAt = input.scheduled === null ? undefined : NOW - input.scheduled * DAY;
        const { action, ...decision } = decide(
          situation({
            newest,
            current,
            next: input.isBlocked ? BLOCKER : REFRESH,
            missing: input.isMissing ? ['add'] : [],
            hasUnsaved: input.hasUnsaved,
            force: input.force,
            scheduledAt,
          }),
          { ...EVERY_RUN, renewBefore: input.share === null ? undefined : { share: input.share } },
        );
        const isBlocked = input.isBlocked && (!input.hasUnsaved || input.isMissing);
        const mustRotate = input.hasUnsaved || !input.isUsable || input.force || input.left <= 0;
        const isSeenTo = scheduledAt !== undefined && newest.createdAt >= scheduledAt;
        if (isBlocked) expect(action).toBe('block');
        else if (mustRotate) expect(action).toBe('rotate');
        else if (isSeenTo) expect(decision).toMatchObject({ outcome: 'already_rotated' });
        else if (input.share === null || input.left === Infinity) expect(action).toBe('rotate');
        else expect(action).not.toBe('block');
      }),
    );
  });
});

describe('renewalTime', () => {
  const at = (
    renewBefore: RenewalPolicy['renewBefore'],
    issuedAt?: number,
    credential = key('k4'),
  ) => renewalTime({ version: NEWEST, credential }, issuedAt, { renewBefore });

  test.each<[string, RenewalPolicy['renewBefore'], number | undefined, number | undefined]>([
    ['every run rotates', undefined, undefined, undefined],
    ['a minimum counts', { minimumMs: 3 * DAY }, undefined, 3 * DAY],
    ['a minimum longer than the lifetime counts', { minimumMs: 400 * DAY }, undefined, 400 * DAY],
    // Issued ten days ago, the key lives for 20 days.
    ['a share of the known lifetime counts', { share: 0.2 }, NOW - 10 * DAY, 4 * DAY],
    [
      'both are set, and the share is larger',
      { share: 0.5, minimumMs: 2 * DAY },
      NOW - 10 * DAY,
      10 * DAY,
    ],
    [
      'both are set, and the minimum is larger',
      { share: 0.05, minimumMs: 2 * DAY },
      NOW - 10 * DAY,
      2 * DAY,
    ],
    // Nothing is known but the version's age of five days: a lifetime of at least 15.
    [
      'the lifetime is unknown, and the share of its lower bound is larger',
      { share: 0.2 },
      undefined,
      3 * DAY,
    ],
    [
      'the lifetime is unknown, and the default minimum is larger',
      { share: 0.1 },
      undefined,
      DEFAULT_MINIMUM_MS,
    ],
    [
      'the lifetime is unknown, and the configured minimum decides',
      { share: 0.1, minimumMs: 7 * DAY },
      undefined,
      7 * DAY,
    ],
    [
      'the lifetime is known, so that no minimum applies',
      { share: 0.01 },
      NOW - 10 * DAY,
      0.2 * DAY,
    ],
    // A version five days old can't contain a key that was issued later.
    ['the time of issue is after the expiry', { share: 0.2 }, NOW + 11 * DAY, 3 * DAY],
    ["the time of issue is after the version's", { share: 0.2 }, NOW, 3 * DAY],
  ])('when %s', (_name, renewBefore, issuedAt, before) => {
    expect(at(renewBefore, issuedAt)).toBe(before === undefined ? undefined : EXPIRES_AT - before);
  });

  test('is now when a month-old key with 20 hours left was put back under 50%', () => {
    const current = {
      version: version(5, 'ENABLED', NOW),
      credential: key('old', NOW + 20 * HOUR),
    };
    const share = { renewBefore: { share: 0.5 } };
    expect(renewalTime(current, undefined, share)).toBeLessThan(NOW);
    expect(renewalTime(current, NOW - 29 * DAY, share)).toBeLessThan(NOW);
  });

  test('is in the past forever when the key never expires, unless every run rotates', () => {
    expect(at({ share: 0.5 }, undefined, key('k4', Infinity))).toBe(-Infinity);
    expect(at(undefined, undefined, key('k4', Infinity))).toBeUndefined();
  });

  test('is never later than the expiry, and never later with a larger part', () => {
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    const ms = fc.integer({ min: 0, max: 400 * DAY });
    const issuedAt = fc.option(fc.integer({ min: NOW - 400 * DAY, max: NOW + 400 * DAY }), {
      nil: undefined,
    });
    fc.assert(
      fc.property(share, ms, ms, issuedAt, (part, least, more, issued) => {
        const time = at({ share: part, minimumMs: least }, issued) ?? Infinity;
        expect(time).toBeLessThanOrEqual(EXPIRES_AT - least);
        expect(at({ share: part, minimumMs: least + more }, issued)).toBeLessThanOrEqual(time);
      }),
    );
  });
});

test.each<[string, ReturnType<typeof key>, number | undefined, number | undefined]>([
  ['the key says it', key('k', EXPIRES_AT, NOW - DAY), 30 * DAY, NOW - DAY],
  ['the configured lifetime implies it', key('k'), 30 * DAY, EXPIRES_AT - 30 * DAY],
  ['nothing says it', key('k'), undefined, undefined],
  ['the key never expires', key('k', Infinity), 30 * DAY, undefined],
])('knownIssueTime when %s', (_name, credential, lifetimeMs, expected) => {
  expect(knownIssueTime({ version: NEWEST, credential }, { lifetimeMs })).toBe(expected);
});

describe('replaceRejected', () => {
  const old = inspection({ next: MINT });
  const young = { version: version(4, 'ENABLED', NOW - HOUR + 1), credential: key('k4') };
  const inAnHour = { version: version(4, 'ENABLED', NOW - HOUR), credential: key('k4') };
  type Listed = Parameters<typeof replaceRejected>[2];

  test.each<[string, Inspection, boolean, Listed, true | string]>([
    ['the list lacks the key', old, false, 'absent', true],
    ['the list shows it expired', old, false, 'expired', true],
    ["the issuer's own API rejected it", old, true, 'unknown', true],
    ['the version is an hour old', { ...old, current: inAnHour }, true, 'unknown', true],
    [
      'the list shows a valid key',
      old,
      false,
      'valid',
      "the account's list shows it as valid, so cache.example.com is probably the wrong host",
    ],
    [
      "the list couldn't be read",
      old,
      false,
      'unknown',
      "the account's list of keys couldn't be read",
    ],
    [
      'the version is younger than an hour',
      { ...old, current: young },
      true,
      'absent',
      'it is younger than an hour',
    ],
    ["the secret's keys are refreshed", inspection(), true, 'absent', "its keys aren't minted"],
    [
      'no key can be minted',
      inspection({ next: BLOCKER }),
      true,
      'absent',
      "its keys aren't minted",
    ],
  ])('when %s', (_name, found, byIssuer, listed, expected) => {
    const check: KeyCheck = { verdict: 'rejected', host: 'cache.example.com', byIssuer };
    expect(
      replaceRejected(found, check as KeyCheck & { verdict: 'rejected' }, listed, NOW),
    ).toEqual(expected === true ? { replace: true } : { replace: false, reason: expected });
  });
});

describe('visibleBlocker', () => {
  const blockerOf = (changes: Partial<Inspection> = {}, now = EXPIRES_AT) =>
    visibleBlocker(inspection(changes), 'The vendor', 'a new key', now);

  test('is KEY_EXPIRED when a key that is refreshed expired', () => {
    expect(blockerOf()).toMatchObject({
      code: 'KEY_EXPIRED',
      problem:
        "The key of version 4 expired at 2026-11-11T00:00:00.000Z, and The vendor doesn't refresh an expired key.",
      action: 'Store a new key as a new version now.',
    });
  });

  test.each<[string, Partial<Inspection>, number]>([
    ['the key expires in a millisecond', {}, EXPIRES_AT - 1],
    ['an expired key is minted anew', { next: MINT }, EXPIRES_AT],
    ['the secret is empty', { newest: undefined, current: undefined }, EXPIRES_AT],
  ])('is absent when %s', (_name, changes, now) => {
    expect(blockerOf(changes, now)).toBeUndefined();
  });

  test('is the blocker of the next key when there is one', () => {
    expect(blockerOf({ next: BLOCKER })).toBe(BLOCKER);
  });
});

test('permissionsFor names what all steps of a rotation need', () => {
  expect(permissionsFor(EVERY_RUN)).toEqual(['access', 'list', 'add', 'disable']);
  expect(permissionsFor({ ...EVERY_RUN, destroyAfterMs: DAY })).toContain('destroy');
});

test.each<[readonly Version[], number | undefined]>([
  [[], undefined],
  [[version(2), version(10, 'DESTROYED'), version(9, 'DISABLED')], 10],
  [[version(2, 'ENABLED', NOW), version(1, 'ENABLED', NOW)], 2],
])('newestVersion goes by number, whatever state and time: %#', (versions, expected) => {
  expect(newestVersion(versions)?.number).toBe(expected);
});

describe('planVersions', () => {
  type Settings = Pick<RenewalPolicy, 'destroyAfterMs'> & { gracePeriodMs?: number };

  function plan(versions: readonly Version[], newest: Version, settings: Settings = {}, now = NOW) {
    return planVersions(versions, newest, { ...EVERY_RUN, ...settings }, [], now);
  }
  const numbers = ({ disable, destroy }: VersionPlan) => ({
    disable: disable.map(({ number }) => number),
    destroy: destroy.map(({ number }) => number),
  });

  // Version n was superseded when n + 1 was created: 3 five days ago, 2 six, 1 seven.
  const VERSIONS = [version(2), version(4), version(1), version(3)];
  const AHEAD = version(5, 'ENABLED', NOW + 2 * HOUR);
  const UNLISTED: Version = { ...version(3, 'ENABLED', NOW), unlisted: true };

  test.each<[string, readonly Version[], Version, number, number[]]>([
    ['plans nothing for the only version', [NEWEST], NEWEST, 0, []],
    ['disables all but the newest, oldest first', VERSIONS, NEWEST, 0, [1, 2, 3]],
    ['disables versions whose grace period is over', VERSIONS, NEWEST, 6 * DAY, [1, 2]],
    ['keeps a version until the last millisecond', VERSIONS, NEWEST, 6 * DAY + 1, [1]],
    ['keeps all within the grace period', VERSIONS, NEWEST, 8 * DAY, []],
    [
      'disables enabled versions only',
      [version(1, 'DISABLED'), version(2, 'DESTROYED')],
      NEWEST,
      0,
      [],
    ],
    [
      'plans nothing for a newer version than the newest',
      [...VERSIONS, version(5)],
      NEWEST,
      6 * DAY,
      [1, 2],
    ],
    ['disables a superseded version that no list shows', [version(2), UNLISTED], NEWEST, 0, [2, 3]],
    [
      'counts from the creation of the next version, even if that is destroyed',
      [version(1), version(2, 'DESTROYED')],
      NEWEST,
      7 * DAY,
      [1],
    ],
    ["disables at once when the store's clock is ahead", [NEWEST], AHEAD, 0, [4]],
    [
      'keeps the grace period when the time of the newest version is odd',
      [version(1), version(2, 'ENABLED', NOW - HOUR)],
      version(4, 'ENABLED', 8.64e15),
      DAY,
      [],
    ],
    [
      "leaves a version whose state or time couldn't be read",
      [{ ...version(3), incomplete: true }, version(2)],
      NEWEST,
      0,
      [2],
    ],
    ["keeps the grace period when the store's clock is ahead", [NEWEST], AHEAD, HOUR, []],
    [
      'keeps the grace period when a superseded version is listed twice',
      [version(3), version(3)],
      NEWEST,
      6 * DAY,
      [],
    ],
    [
      'disables once when a superseded version is listed twice',
      [version(3), version(3)],
      NEWEST,
      0,
      [3],
    ],
    ['plans nothing when the newest version is listed twice', [NEWEST, NEWEST], NEWEST, 0, []],
    [
      'plans nothing for a copy of the newest with another state',
      [version(4, 'DISABLED'), NEWEST],
      NEWEST,
      0,
      [],
    ],
  ])('%s', (_name, versions, newest, gracePeriodMs, expected) => {
    expect(numbers(plan(versions, newest, { gracePeriodMs })).disable).toEqual(expected);
  });

  test.each<[string, readonly Version[], number | undefined, number[]]>([
    ['destroys nothing unless that is configured', [version(3, 'DISABLED')], undefined, []],
    [
      'destroys disabled versions, oldest first',
      [version(3, 'DISABLED'), version(2), version(1, 'DISABLED')],
      0,
      [1, 3],
    ],
    [
      'destroys versions that were superseded long enough ago',
      [version(2, 'DISABLED'), version(1, 'DISABLED')],
      7 * DAY,
      [1],
    ],
    [
      'keeps a disabled version until the last millisecond',
      [version(2, 'DISABLED'), version(1, 'DISABLED')],
      7 * DAY + 1,
      [],
    ],
    [
      'leaves a version whose destruction is scheduled',
      [{ ...version(3, 'DISABLED'), destroyScheduled: true }],
      0,
      [],
    ],
    ['leaves a disabled copy of the newest', [version(4, 'DISABLED')], 0, []],
  ])('%s', (_name, versions, destroyAfterMs, expected) => {
    expect(numbers(plan([...versions, NEWEST], NEWEST, { destroyAfterMs })).destroy).toEqual(
      expected,
    );
  });

  test('plans nothing before a list has shown the newest version', () => {
    const unlisted = { ...NEWEST, unlisted: true };
    const versions = [version(3), version(2, 'DISABLED'), unlisted];
    expect(plan(versions, unlisted, { destroyAfterMs: 0 })).toEqual({ disable: [], destroy: [] });
  });

  test.each([
    [['disable'] as const, { disable: [], destroy: [2] }],
    [['destroy'] as const, { disable: [3], destroy: [] }],
    [['add'] as const, { disable: [3], destroy: [2] }],
  ])('plans nothing that needs the missing permission %j', (missing, expected) => {
    const versions = [version(2, 'DISABLED'), version(3), NEWEST];
    const policy = { ...EVERY_RUN, destroyAfterMs: 0 };
    expect(numbers(planVersions(versions, NEWEST, policy, missing, NOW))).toEqual(expected);
  });

  test('plans what is due and nothing else, whatever a list contains', () => {
    const time = fc.oneof(
      fc.integer({ min: NOW - 30 * DAY, max: NOW + 2 * DAY }),
      fc.constantFrom(0, 8.64e15),
    );
    const arbitraryVersion = fc.record({
      number: fc.integer({ min: 1, max: 9 }),
      state: fc.constantFrom('ENABLED' as const, 'DISABLED' as const, 'DESTROYED' as const),
      createdAt: time,
      destroyScheduled: fc.boolean(),
      incomplete: fc.boolean(),
      unlisted: fc.boolean(),
    });
    const period = fc.constantFrom(0, HOUR, 3 * DAY, 20 * DAY);
    const lists = fc
      .uniqueArray(arbitraryVersion, { selector: ({ number }) => number, minLength: 1 })
      .chain((unique) =>
        fc.tuple(
          fc.constant(unique),
          fc.shuffledSubarray([...unique, ...unique], { minLength: 2 * unique.length }),
        ),
      );
    fc.assert(
      fc.property(
        lists,
        fc.nat(),
        period,
        period,
        ([unique, listed], index, gracePeriodMs, destroyAfterMs) => {
          const newest = unique[index % unique.length] as Version;
          const older = unique.filter(({ number }) => number < newest.number);
          const supersededAt = ({ number }: Version) =>
            [...older, newest]
              .filter((other) => other.number > number)
              .reduce((next, other) => (other.number < next.number ? other : next)).createdAt;
          const isDue = (each: Version, state: Version['state'], period: number) =>
            newest.unlisted !== true &&
            !each.incomplete &&
            each.state === state &&
            Math.max(0, NOW - supersededAt(each)) >= period;
          const due = {
            disable: older.filter((each) => isDue(each, 'ENABLED', gracePeriodMs)),
            destroy: older.filter(
              (each) => isDue(each, 'DISABLED', destroyAfterMs) && each.destroyScheduled !== true,
            ),
          };
          const ascending = ({ disable, destroy }: typeof due) =>
            numbers({
              disable: disable.toSorted((a, b) => a.number - b.number),
              destroy: destroy.toSorted((a, b) => a.number - b.number),
            });
          expect(numbers(plan(listed, newest, { gracePeriodMs, destroyAfterMs }))).toEqual(
            ascending(due),
          );
        },
      ),
    );
  });
});

describe('orphanCandidates', () => {
  test.each([
    ['takes an old key that nothing references', 'orphan', 2 * HOUR, ['orphan']],
    ['leaves a referenced key', 'referenced', 300 * DAY, []],
    ['leaves a key that another run might be about to add', 'young', HOUR, []],
    ['takes a key that is older than an hour', 'old', HOUR + 1, ['old']],
    ['leaves a key from the future', 'early', -HOUR, []],
  ])('%s', (_name, keyId, age, expected) => {
    expect(orphanCandidates([ownKey(keyId, age)], ['referenced', undefined], NOW)).toEqual(
      expected,
    );
  });

  test('takes exactly the unreferenced keys older than an hour, whatever the list contains', () => {
    const id = fc.constantFrom('a', 'b', 'c', 'd', 'e');
    const keys = fc.array(
      fc.record({ keyId: id, issuedAt: fc.integer({ min: NOW - 3 * HOUR, max: NOW + HOUR }) }),
    );
    fc.assert(
      fc.property(keys, fc.array(fc.option(id, { nil: undefined })), (listed, referenced) => {
        const candidates = orphanCandidates(listed, referenced, NOW);
        for (const keyId of candidates) expect(referenced).not.toContain(keyId);
        const old = listed
          .filter(({ issuedAt }) => issuedAt < NOW - HOUR)
          .map(({ keyId }) => keyId);
        expect(new Set(candidates)).toEqual(
          new Set(old.filter((keyId) => !referenced.includes(keyId))),
        );
      }),
    );
  });
});
