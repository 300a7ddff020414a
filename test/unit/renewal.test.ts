import {
  decide,
  newestEnabledVersion,
  newestVersion,
  renewalTime,
  versionsToDestroy,
  versionsToRetire,
  type RenewalPolicy,
  type Situation,
  type Version,
} from '../../src/renewal';
import { DAY, HOUR, NOW, version } from './support';

/** Version 4 was created five days ago, and its key has ten days left: a life of fifteen. */
const EXPIRES_AT = NOW + 10 * DAY;

function situation(changes: Partial<Situation> = {}): Situation {
  const newest = version(4);
  return {
    newest,
    current: { version: newest, expiresAt: EXPIRES_AT },
    now: NOW,
    force: false,
    ...changes,
  };
}

function policy(changes: Partial<RenewalPolicy> = {}): RenewalPolicy {
  return { gracePeriodMs: 0, ...changes };
}

function numbers(versions: readonly Version[]): number[] {
  return versions.map(({ number }) => number);
}

describe('renewalTime', () => {
  test.each<[RenewalPolicy['renewBefore'], number | undefined]>([
    [undefined, undefined],
    [{ ms: 3 * DAY }, EXPIRES_AT - 3 * DAY],
    [{ ms: 400 * DAY }, EXPIRES_AT - 400 * DAY],
    [{ share: 0.2 }, EXPIRES_AT - 3 * DAY],
    [{ share: 0.5 }, EXPIRES_AT - 7.5 * DAY],
  ])('%j', (renewBefore, time) => {
    const key = { version: version(4), expiresAt: EXPIRES_AT };
    expect(renewalTime(key, policy(renewBefore && { renewBefore }))).toBe(time);
  });
});

describe('decide', () => {
  const RENEW_LATE = policy({ renewBefore: { ms: 3 * DAY } });
  const healing = situation({
    newest: version(5, 'DISABLED', NOW),
    scheduledAt: NOW - HOUR,
  });

  test.each<[string, Situation, RenewalPolicy, ReturnType<typeof decide>]>([
    [
      'without a renewal time, every run rotates',
      situation(),
      policy(),
      { rotate: true, reason: 'every run rotates' },
    ],
    [
      'not due a millisecond before the renewal time',
      situation({ now: EXPIRES_AT - 3 * DAY - 1 }),
      RENEW_LATE,
      { rotate: false, outcome: 'not_due', reason: 'due at 2026-11-08T00:00:00.000Z' },
    ],
    [
      'due at the renewal time',
      situation({ now: EXPIRES_AT - 3 * DAY }),
      RENEW_LATE,
      { rotate: true, reason: 'due since 2026-11-08T00:00:00.000Z' },
    ],
    [
      'due when a share of the life is left',
      situation(),
      policy({ renewBefore: { share: 0.99 } }),
      { rotate: true, reason: 'due since 2026-10-27T03:36:00.000Z' },
    ],
    [
      'due when the key has expired',
      situation({ now: EXPIRES_AT + DAY }),
      RENEW_LATE,
      { rotate: true, reason: 'due since 2026-11-08T00:00:00.000Z' },
    ],
    [
      'force overrides not due',
      situation({ force: true }),
      RENEW_LATE,
      { rotate: true, reason: 'forced' },
    ],
    [
      'a version created at the scheduled time: already rotated',
      situation({ scheduledAt: NOW - 5 * DAY }),
      policy(),
      {
        rotate: false,
        outcome: 'already_rotated',
        reason: "version 4 was added since this run's scheduled time",
      },
    ],
    [
      'force does not repeat a scheduled run',
      situation({ scheduledAt: NOW - 6 * DAY, force: true }),
      policy(),
      {
        rotate: false,
        outcome: 'already_rotated',
        reason: "version 4 was added since this run's scheduled time",
      },
    ],
    [
      'a version created just before the scheduled time: not yet rotated',
      situation({ scheduledAt: NOW - 5 * DAY + 1 }),
      policy(),
      { rotate: true, reason: 'every run rotates' },
    ],
    [
      'a disabled newest version is healed, whenever it was created',
      healing,
      RENEW_LATE,
      { rotate: true, reason: 'version 5 is the newest but disabled, so readers of latest fail' },
    ],
    [
      'a destroyed newest version is healed',
      { ...healing, newest: version(5, 'DESTROYED') },
      RENEW_LATE,
      { rotate: true, reason: 'version 5 is the newest but destroyed, so readers of latest fail' },
    ],
  ])('%s', (_name, situation_, policy_, decision) => {
    expect(decide(situation_, policy_)).toEqual(decision);
  });
});

describe('versionsToRetire', () => {
  // Version n was superseded when n + 1 was created: 3 five days ago, 2 six, 1 seven.
  const versions = [version(2), version(4), version(1), version(3)];

  test.each<[string, readonly Version[], Partial<RenewalPolicy>, number[]]>([
    ['no versions', [], {}, []],
    ['never the only one', [version(1)], {}, []],
    ['all but the newest, oldest first', versions, {}, [1, 2, 3]],
    ['those whose grace period is over', versions, { gracePeriodMs: 6 * DAY }, [1, 2]],
    ['not a millisecond before', versions, { gracePeriodMs: 6 * DAY + 1 }, [1]],
    ['none within it', versions, { gracePeriodMs: 8 * DAY }, []],
    ['only enabled ones', [version(1, 'DISABLED'), version(2, 'DESTROYED'), version(4)], {}, []],
    ['none while the newest is disabled', [version(3), version(4, 'DISABLED')], {}, []],
    ['none while the newest is destroyed', [version(3), version(4, 'DESTROYED')], {}, []],
    [
      'superseded by a version that is not enabled any more',
      [version(1), version(2, 'DESTROYED'), version(4)],
      { gracePeriodMs: 7 * DAY },
      [1],
    ],
  ])('%s', (_name, listed, changes, expected) => {
    expect(numbers(versionsToRetire(listed, policy(changes), NOW))).toEqual(expected);
  });

  test('none while no list has shown the newest, and none that no list has shown', () => {
    const unlisted = (number: number): Version => ({ number, state: 'ENABLED', createdAt: NOW });
    const among = [version(2), unlisted(3), version(4)];
    expect(versionsToRetire([version(3), unlisted(4)], policy(), NOW)).toEqual([]);
    expect(numbers(versionsToRetire(among, policy(), NOW))).toEqual([2]);
  });

  test("at once, also when Secret Manager's clock is ahead of ours", () => {
    const listed = [version(4), version(5, 'ENABLED', NOW + 2 * HOUR)];
    expect(numbers(versionsToRetire(listed, policy(), NOW))).toEqual([4]);
    expect(versionsToRetire(listed, policy({ gracePeriodMs: HOUR }), NOW)).toEqual([]);
  });
});

describe('versionsToDestroy', () => {
  const versions = [version(4), version(3, 'DISABLED'), version(1, 'DISABLED'), version(2)];

  test.each<[string, readonly Version[], number | undefined, number[]]>([
    ['none unless asked for', versions, undefined, []],
    ['no versions', [], 0, []],
    ['only disabled ones, oldest first', versions, 0, [1, 3]],
    ['those that were superseded long enough ago', versions, 7 * DAY, [1]],
    ['not a millisecond before', versions, 7 * DAY + 1, []],
    [
      'none while no list has shown the newest',
      [version(3, 'DISABLED'), { number: 4, state: 'ENABLED', createdAt: NOW }],
      0,
      [],
    ],
    ['none that are destroyed', [version(3, 'DESTROYED'), version(4)], 0, []],
    ['none while the newest is disabled', [version(3, 'DISABLED'), version(4, 'DISABLED')], 0, []],
    [
      'none whose destruction is scheduled',
      [{ ...version(3, 'DISABLED'), destroyScheduled: true }, version(4)],
      0,
      [],
    ],
  ])('%s', (_name, listed, destroyAfterMs, expected) => {
    const changes = destroyAfterMs === undefined ? {} : { destroyAfterMs };
    expect(numbers(versionsToDestroy(listed, policy(changes), NOW))).toEqual(expected);
  });
});

describe('newest version', () => {
  test.each<[readonly Version[], number | undefined, number | undefined]>([
    [[], undefined, undefined],
    [[version(10), version(9)], 10, 10],
    [[version(2), version(10, 'DESTROYED'), version(9, 'DISABLED')], 10, 2],
    [[version(1, 'DISABLED')], 1, undefined],
    [[version(2, 'ENABLED', NOW), version(1, 'ENABLED', NOW)], 2, 2],
  ])('of %j', (versions, newest, newestEnabled) => {
    expect(newestVersion(versions)?.number).toBe(newest);
    expect(newestEnabledVersion(versions)?.number).toBe(newestEnabled);
  });
});
