import fc from 'fast-check';
import type { Inspection } from '../../../src/rotation/inspect';
import {
  decide,
  knownIssueTime,
  newestVersion,
  orphanCandidates,
  permissionsFor,
  planVersions,
  renewalTime,
  replaceRejected,
  visibleBlocker,
  type RenewalPolicy,
  type Situation,
  type VersionPlan,
} from '../../../src/rotation/policy';
import type { NextKey, Version } from '../../../src/rotation/ports';
import { DAY, HOUR, NOW, version } from '../support';
import { error, EXPIRES_AT, key, ownKey } from './test-bed';

/** Version 4 was created five days ago, and its key has ten days left. */
const NEWEST = version(4);
const BLOCKER = error('KEY_NOT_REFRESHABLE');
const REFRESH = { by: 'refresh' } as NextKey;
const MINT = { by: 'mint' } as NextKey;

const EVERY_RUN: RenewalPolicy = { gracePeriodMs: 0, verify: true, revoke: false };
const LATE: RenewalPolicy = { ...EVERY_RUN, renewBefore: { minimumMs: 3 * DAY } };
const DUE_AT = EXPIRES_AT - 3 * DAY;

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

  const EXPIRED = 'the key expired at 2026-11-11T00:00:00.000Z';
  const UNSAVED = "an earlier run issued a key that isn't stored yet";
  const FOREVER = { current: { version: NEWEST, credential: key('k4', Infinity) } };
  /** The newest version was added since then. */
  const SEEN_TO = { scheduledAt: NOW - 9 * DAY };

  test.each<[string, Changes, string]>([
    ['the renewal time is now', { now: DUE_AT }, 'due since 2026-11-08T00:00:00.000Z'],
    ['the key expired', { now: EXPIRES_AT }, EXPIRED],
    ['the key expired and the version is new', { now: EXPIRES_AT, ...SEEN_TO }, EXPIRED],
    ['the key never expires', FOREVER, 'the key never expires'],
    ['the run is forced', { force: true }, 'forced'],
    ['the run is forced and the version is new', { force: true, ...SEEN_TO }, 'forced'],
    [
      'the newest is disabled',
      { newest: DISABLED, ...SEEN_TO },
      'version 5, the newest, is disabled',
    ],
    ['it is destroyed', { newest: version(5, 'DESTROYED') }, 'version 5, the newest, is destroyed'],
    [
      'it is unreadable, and keys are minted',
      { ...UNREADABLE, ...SEEN_TO },
      "version 5, the newest, is enabled and can't be read (FAILED_PRECONDITION)",
    ],
    ['the secret is empty', { newest: undefined, current: undefined }, 'the secret was empty'],
    ['a credential is unsaved', { hasUnsaved: true, ...SEEN_TO }, UNSAVED],
    [
      'a credential is unsaved and no other can be issued',
      { hasUnsaved: true, next: BLOCKER },
      UNSAVED,
    ],
  ])('rotates when %s', (_name, changes, reason) => {
    expect(decide(situation(changes), LATE)).toEqual({ action: 'rotate', reason });
  });

  test.each<[string, Changes]>([
    ['no renewal time is configured', {}],
    ['the version was added just before the scheduled time', { scheduledAt: NOW - 5 * DAY + 1 }],
  ])('rotates when %s', (_name, changes) => {
    const decision = decide(situation(changes), EVERY_RUN);
    expect(decision).toEqual({ action: 'rotate', reason: 'every run rotates' });
  });

  test("keeps a key that isn't due by a millisecond", () => {
    expect(decide(situation({ now: DUE_AT - 1 }), LATE)).toEqual({
      action: 'skip',
      outcome: 'not_due',
      reason: 'due at 2026-11-08T00:00:00.000Z',
    });
  });

  test('keeps a key whose version was added at the scheduled time', () => {
    expect(decide(situation({ scheduledAt: NOW - 5 * DAY }), EVERY_RUN)).toEqual({
      action: 'skip',
      outcome: 'already_rotated',
      reason: "version 4 was added since this run's scheduled time",
    });
  });

  test.each<[string, Changes]>([
    ['the renewal is due', { now: DUE_AT }],
    ["the renewal isn't due", { now: NOW - 9 * DAY }],
    ['the run is forced', { force: true }],
    ['a version was added since the scheduled time', SEEN_TO],
    ["an unsaved credential can't be added", { hasUnsaved: true, missing: ['add'] }],
  ])('reports a blocker when %s', (_name, changes) => {
    const decision = decide(situation({ next: BLOCKER, ...changes }), LATE);
    expect(decision).toEqual({ action: 'block', error: BLOCKER });
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

  // Issued ten days ago, the key lives for 20 days. Without that, the version's age of five days gives at least 15.
  const ISSUED = NOW - 10 * DAY;

  test.each<[string, RenewalPolicy['renewBefore'], number | undefined, number]>([
    ['a minimum counts', { minimumMs: 3 * DAY }, undefined, 3 * DAY],
    ['a minimum beyond the lifetime counts', { minimumMs: 400 * DAY }, undefined, 400 * DAY],
    ['a share of the known lifetime counts', { share: 0.2 }, ISSUED, 4 * DAY],
    ['of both, the share is larger', { share: 0.5, minimumMs: 2 * DAY }, ISSUED, 10 * DAY],
    ['of both, the minimum is larger', { share: 0.05, minimumMs: 2 * DAY }, ISSUED, 2 * DAY],
    ['the lifetime is known: no minimum applies', { share: 0.01 }, ISSUED, 0.2 * DAY],
    ['it is unknown: its lower bound counts', { share: 0.2 }, undefined, 3 * DAY],
    ['it is unknown: the default minimum is larger', { share: 0.1 }, undefined, 48 * HOUR],
    ['it is unknown: the minimum is', { share: 0.1, minimumMs: 7 * DAY }, undefined, 7 * DAY],
    // A version five days old can't contain a key that was issued later.
    ['the time of issue is after the expiry', { share: 0.2 }, NOW + 11 * DAY, 3 * DAY],
    ["the time of issue is after the version's", { share: 0.2 }, NOW, 3 * DAY],
  ])('when %s', (_name, renewBefore, issuedAt, before) => {
    expect(at(renewBefore, issuedAt)).toBe(EXPIRES_AT - before);
  });

  test('counts the lifetime from the first version with the key, and keeps the default minimum', () => {
    const current = { version: NEWEST, credential: key('k4') };
    const since = (storedSince: number) =>
      renewalTime(current, undefined, { renewBefore: { share: 0.5 } }, storedSince);
    expect(since(NOW - 20 * DAY)).toBe(EXPIRES_AT - 15 * DAY);
    expect(renewalTime(current, undefined, { renewBefore: { share: 0.01 } }, NOW - 20 * DAY)).toBe(
      EXPIRES_AT - 48 * HOUR,
    );
  });

  test('is undefined when every run rotates', () => {
    expect(at(undefined, ISSUED)).toBeUndefined();
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
  const WRONG_HOST =
    "the account's list shows it as valid, so cache.example.com is probably the wrong host";
  const UNKNOWN = "the account's list of keys couldn't be read";
  const YOUNG = 'it is younger than an hour';
  const REFRESHED = "its keys aren't minted";

  test.each<[string, Inspection, boolean, Listed, true | string]>([
    ['the list lacks the key', old, false, 'absent', true],
    ['the list shows it expired', old, false, 'expired', true],
    ["the issuer's own API rejected it", old, true, 'unknown', true],
    ['the version is an hour old', { ...old, current: inAnHour }, true, 'unknown', true],
    ['the list shows a valid key', old, false, 'valid', WRONG_HOST],
    ["the list couldn't be read", old, false, 'unknown', UNKNOWN],
    ['the version is younger than an hour', { ...old, current: young }, true, 'absent', YOUNG],
    ["the secret's keys are refreshed", inspection(), true, 'absent', REFRESHED],
    ['no key can be minted', inspection({ next: BLOCKER }), true, 'absent', REFRESHED],
  ])('when %s', (_name, found, byIssuer, listed, expected) => {
    const check = { verdict: 'rejected', host: 'cache.example.com', byIssuer } as const;
    expect(replaceRejected(found, check, listed, NOW)).toEqual(
      expected === true ? { replace: true } : { replace: false, reason: expected },
    );
  });
});

describe('visibleBlocker', () => {
  const blockerOf = (changes: Partial<Inspection> = {}, now = EXPIRES_AT) =>
    visibleBlocker(inspection(changes), 'The issuer', 'a new key', now);

  test('is KEY_EXPIRED when a key that is refreshed expired', () => {
    expect(blockerOf()).toMatchObject({
      code: 'KEY_EXPIRED',
      problem:
        "The key of version 4 expired at 2026-11-11T00:00:00.000Z, and The issuer doesn't refresh an expired key.",
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
  const ODD = version(4, 'ENABLED', 8.64e15);
  const YOUNG = version(2, 'ENABLED', NOW - HOUR);
  const UNLISTED: Version = { ...version(3, 'ENABLED', NOW), unlisted: true };
  const INCOMPLETE: Version = { ...version(3), incomplete: true };

  test.each<[string, Version[], number, number[], Version?]>([
    ['disables versions whose grace period is over, oldest first', VERSIONS, 6 * DAY, [1, 2]],
    ['keeps a version until the last millisecond', VERSIONS, 6 * DAY + 1, [1]],
    ['counts from a destroyed next version', [version(1), version(2, 'DESTROYED')], 7 * DAY, [1]],
    ['plans nothing for a disabled copy of the newest', [version(4, 'DISABLED'), NEWEST], 0, []],
    ['disables a superseded version that no list shows', [version(2), UNLISTED], 0, [2, 3]],
    ["leaves a version that couldn't be read", [INCOMPLETE, version(2)], 0, [2]],
    ["disables at once when the store's clock is ahead", [NEWEST], 0, [4], AHEAD],
    ["keeps the grace period when the store's clock is ahead", [NEWEST], HOUR, [], AHEAD],
    [
      'keeps the grace period when the time of the newest is odd',
      [version(1), YOUNG],
      DAY,
      [],
      ODD,
    ],
  ])('%s', (_name, versions, gracePeriodMs, expected, newest = NEWEST) => {
    expect(numbers(plan(versions, newest, { gracePeriodMs })).disable).toEqual(expected);
  });

  const DISABLED = [version(2, 'DISABLED'), version(1, 'DISABLED')];
  const SCHEDULED = { ...version(3, 'DISABLED'), destroyScheduled: true };

  test.each<[string, Version[], number | undefined, number[]]>([
    ['destroys nothing unless that is configured', DISABLED, undefined, []],
    ['destroys disabled versions, oldest first', [...DISABLED, version(3)], 0, [1, 2]],
    ['keeps a disabled version until the last millisecond', DISABLED, 7 * DAY + 1, []],
    ['leaves a version whose destruction is scheduled', [SCHEDULED], 0, []],
    ['leaves a disabled copy of the newest', [version(4, 'DISABLED')], 0, []],
  ])('%s', (_name, versions, destroyAfterMs, expected) => {
    const listed = [...versions, NEWEST];
    expect(numbers(plan(listed, NEWEST, { destroyAfterMs })).destroy).toEqual(expected);
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

  test('plans exactly the due versions, for any list', () => {
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
              (each) => isDue(each, 'DISABLED', destroyAfterMs) && !each.destroyScheduled,
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
    ['leaves a key that another run might be about to add', 'young', HOUR, []],
    ['takes a key that is older than an hour', 'old', HOUR + 1, ['old']],
  ])('%s', (_name, keyId, age, expected) => {
    expect(orphanCandidates([ownKey(keyId, age)], ['referenced', undefined], NOW)).toEqual(
      expected,
    );
  });

  test('takes exactly the unreferenced keys older than an hour, for any list', () => {
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
