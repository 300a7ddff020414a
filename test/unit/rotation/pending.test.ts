import { PendingCredentials } from '../../../src/rotation/pending';
import type { Issued } from '../../../src/rotation/steps';
import { Trail } from '../../../src/rotation/trail';
import { fakeClock, NOW, version } from '../support';
import { key, NEW_KEY, SECRET } from './scene';

const WAITING: Issued = {
  credential: NEW_KEY,
  by: 'refresh',
  issuedAt: NOW,
  issuedFrom: 4,
  newest: 4,
};

/** Whether the key is still for a secret whose newest version is this one. */
function look({ issued = WAITING, number = 4, holds = 'theirs', dryRun = false } = {}) {
  const pending = new PendingCredentials();
  pending.keep(SECRET, issued);
  const trail = new Trail(fakeClock());
  const newest = version(number);
  const isFor = pending.isFor(
    { newest, current: { version: newest, credential: key(holds) } },
    { secret: SECRET, options: { dryRun }, trail },
  );
  return { isFor, isKept: pending.of(SECRET) !== undefined, warnings: [...trail.warnings] };
}

test('a refreshed key waits while the newest version is what it was issued from', () => {
  expect(look()).toEqual({ isFor: true, isKept: true, warnings: [] });
});

test('a minted key never waits', () => {
  expect(look({ issued: { ...WAITING, by: 'mint' } })).toMatchObject({
    isFor: false,
    isKept: false,
  });
});

test('it is dropped when somebody added a version, which is told', () => {
  expect(look({ number: 5 })).toEqual({
    isFor: false,
    isKept: false,
    warnings: [
      'a key that an earlier run could not store was dropped, because version 5 was added since',
    ],
  });
});

test('but not by a dry run', () => {
  expect(look({ number: 5, dryRun: true })).toEqual({ isFor: false, isKept: true, warnings: [] });
});

test('without a word when it had been stored, and only the answer was lost', () => {
  expect(look({ number: 5, holds: 'new' })).toEqual({ isFor: false, isKept: false, warnings: [] });
});

test('each secret has its own', () => {
  const pending = new PendingCredentials();
  pending.keep(SECRET, WAITING);
  const other = { ...SECRET, name: 'projects/p/secrets/other' };
  expect(pending.of(other)).toBeUndefined();
  pending.drop(other);
  expect(pending.of(SECRET)).toBe(WAITING);
});
