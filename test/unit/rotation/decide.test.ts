import {
  decide,
  permissionsFor,
  renewalTime,
  type RenewalPolicy,
  type Situation,
} from '../../../src/rotation/decide';
import type { Renewal } from '../../../src/rotation/ports';
import type { Decision } from '../../../src/rotation/steps';
import { DAY, HOUR, NOW, version } from '../support';
import { error, EXPIRES_AT, key } from './scene';

/** Version 4 was created five days ago, and its key has ten days left: a life of fifteen. */
const newest = version(4);
const RENEWAL = {} as Renewal;
const OBSTACLE = error('KEY_NOT_REFRESHABLE');

function policy(renewBefore?: RenewalPolicy['renewBefore']): RenewalPolicy {
  return {
    gracePeriodMs: 0,
    verify: true,
    revoke: false,
    ...(renewBefore && { renewBefore }),
  };
}

const EVERY_RUN = policy();
const LATE = policy({ ms: 3 * DAY });

type Changes = Partial<Situation['found']> & Partial<Omit<Situation, 'found'>>;

function situation({ isPending, now, scheduledAt, force, ...found }: Changes): Situation {
  return {
    found: {
      newest,
      current: { version: newest, credential: key('k4') },
      missing: [],
      next: RENEWAL,
      ...found,
    },
    isPending: isPending ?? false,
    now: now ?? NOW,
    force: force ?? false,
    ...(scheduledAt !== undefined && { scheduledAt }),
  };
}

describe('renewalTime', () => {
  test.each<[RenewalPolicy['renewBefore'], number | undefined]>([
    [undefined, undefined],
    [{ ms: 3 * DAY }, EXPIRES_AT - 3 * DAY],
    [{ ms: 400 * DAY }, EXPIRES_AT - 400 * DAY],
    [{ share: 0.2 }, EXPIRES_AT - 3 * DAY],
    [{ share: 0.5 }, EXPIRES_AT - 7.5 * DAY],
  ])('%j', (renewBefore, time) => {
    expect(renewalTime({ version: newest, credential: key('k4') }, policy(renewBefore))).toBe(time);
  });

  test('goes by when the key was issued, where that is known', () => {
    const credential = key('k4', EXPIRES_AT, NOW - 10 * DAY);
    const share = renewalTime({ version: newest, credential }, policy({ share: 0.2 }));
    expect(share).toBe(EXPIRES_AT - 4 * DAY);
  });

  test('a key that never expires has been due for ever', () => {
    const credential = key('k4', Infinity);
    expect(renewalTime({ version: newest, credential }, LATE)).toBe(-Infinity);
    expect(renewalTime({ version: newest, credential }, EVERY_RUN)).toBeUndefined();
  });
});

describe('rotates', () => {
  const disabled = version(5, 'DISABLED', NOW);
  const empty = { newest: undefined, current: undefined } as unknown as Changes;

  test.each<[string, Changes, RenewalPolicy, string]>([
    ['without a renewal time, in every run', {}, EVERY_RUN, 'every run rotates'],
    [
      'at the renewal time',
      { now: EXPIRES_AT - 3 * DAY },
      LATE,
      'due since 2026-11-08T00:00:00.000Z',
    ],
    [
      'when a share of the life is left',
      {},
      policy({ share: 0.99 }),
      'due since 2026-10-27T03:36:00.000Z',
    ],
    [
      'a key that has expired',
      { now: EXPIRES_AT + DAY },
      LATE,
      'due since 2026-11-08T00:00:00.000Z',
    ],
    [
      'a key that never expires',
      { current: { version: newest, credential: key('k4', Infinity) } },
      LATE,
      'the key never expires',
    ],
    ['when forced', { force: true }, LATE, 'forced'],
    [
      'when the newest version was created just before the scheduled time',
      { scheduledAt: NOW - 5 * DAY + 1 },
      EVERY_RUN,
      'every run rotates',
    ],
    [
      'to heal a disabled newest version, whenever it was created',
      { newest: disabled, scheduledAt: NOW - HOUR },
      LATE,
      'version 5 is the newest but disabled, so readers of latest fail',
    ],
    [
      'to heal a destroyed newest version',
      { newest: version(5, 'DESTROYED') },
      LATE,
      'version 5 is the newest but destroyed, so readers of latest fail',
    ],
    ['to give an empty secret its first key', empty, LATE, 'the secret is empty'],
    [
      'to store a key that waits, whatever else is the case',
      { isPending: true, scheduledAt: NOW - 9 * DAY },
      LATE,
      'an earlier run issued a key that is not stored yet',
    ],
    [
      'to store a key that waits, also when no other could be issued',
      { isPending: true, next: OBSTACLE },
      LATE,
      'an earlier run issued a key that is not stored yet',
    ],
  ])('%s', (_name, changes, policy_, reason) => {
    expect(decide(situation(changes), policy_)).toEqual({ action: 'rotate', reason });
  });
});

test.each<[string, Changes, RenewalPolicy, Partial<Decision>]>([
  [
    'a millisecond before the renewal time',
    { now: EXPIRES_AT - 3 * DAY - 1 },
    LATE,
    { outcome: 'not_due', reason: 'due at 2026-11-08T00:00:00.000Z' },
  ],
  [
    'when the newest version was created at the scheduled time',
    { scheduledAt: NOW - 5 * DAY },
    EVERY_RUN,
    {
      outcome: 'already_rotated',
      reason: "version 4 was added since this run's scheduled time",
    },
  ],
  [
    'a second time for one scheduled run, also when forced',
    { scheduledAt: NOW - 6 * DAY, force: true },
    EVERY_RUN,
    {
      outcome: 'already_rotated',
      reason: "version 4 was added since this run's scheduled time",
    },
  ],
])('does not rotate %s', (_name, changes, policy_, kept) => {
  expect(decide(situation(changes), policy_)).toEqual({ action: 'keep', ...kept });
});

test.each<[string, Changes]>([
  ['when it is due', {}],
  ['when it is not due yet', { now: NOW - 9 * DAY }],
  ['when forced', { force: true }],
  ['for a time that has been seen to', { scheduledAt: NOW - 9 * DAY }],
  ['and a key that waits could not be stored', { isPending: true, missing: ['add'] }],
])('refuses what cannot be renewed, %s', (_name, changes) => {
  expect(decide(situation({ next: OBSTACLE, ...changes }), LATE)).toEqual({
    action: 'refuse',
    error: OBSTACLE,
  });
});

test('a rotation has to be permitted what all of its steps need', () => {
  expect(permissionsFor(EVERY_RUN)).toEqual(['access', 'list', 'add', 'disable']);
  expect(permissionsFor({ ...EVERY_RUN, destroyAfterMs: DAY })).toContain('destroy');
});
