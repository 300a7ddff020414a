import { keysToRevoke, versionsToDestroy, versionsToRetire } from '../../../src/rotation/cleanup';
import type { Version } from '../../../src/rotation/ports';
import { newestEnabledVersion, newestVersion } from '../../../src/rotation/versions';
import { DAY, HOUR, NOW, version } from '../support';
import { ownKey } from './scene';

function numbers(versions: readonly Version[]): number[] {
  return versions.map(({ number }) => number);
}

function unlisted(number: number): Version {
  return { number, state: 'ENABLED', createdAt: NOW, unlisted: true };
}

describe('versionsToRetire', () => {
  // Version n was superseded when n + 1 was created: 3 five days ago, 2 six, 1 seven.
  const versions = [version(2), version(4), version(1), version(3)];
  const noEtag: Version = { number: 3, state: 'ENABLED', createdAt: NOW - 6 * DAY };

  test.each<[string, readonly Version[], number, number[]]>([
    ['no versions', [], 0, []],
    ['never the only one', [version(1)], 0, []],
    ['all but the newest, oldest first', versions, 0, [1, 2, 3]],
    ['those whose grace period is over', versions, 6 * DAY, [1, 2]],
    ['not a millisecond before', versions, 6 * DAY + 1, [1]],
    ['none within it', versions, 8 * DAY, []],
    ['only enabled ones', [version(1, 'DISABLED'), version(2, 'DESTROYED'), version(4)], 0, []],
    ['none while the newest is disabled', [version(3), version(4, 'DISABLED')], 0, []],
    ['none while the newest is destroyed', [version(3), version(4, 'DESTROYED')], 0, []],
    ['none while no list has shown the newest', [version(3), unlisted(4)], 0, []],
    ['one that no list has shown, as any other', [version(2), unlisted(3), version(4)], 0, [2, 3]],
    ['one without an etag, too', [noEtag, version(4)], 0, [3]],
    [
      'superseded by a version that is not enabled any more',
      [version(1), version(2, 'DESTROYED'), version(4)],
      7 * DAY,
      [1],
    ],
    [
      "at once, also when the store's clock is ahead of ours",
      [version(4), version(5, 'ENABLED', NOW + 2 * HOUR)],
      0,
      [4],
    ],
    [
      'by no clock before the end of the grace period',
      [version(4), version(5, 'ENABLED', NOW + 2 * HOUR)],
      HOUR,
      [],
    ],
  ])('%s', (_name, listed, gracePeriodMs, expected) => {
    expect(numbers(versionsToRetire(listed, { gracePeriodMs }, NOW))).toEqual(expected);
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
    ['none while no list has shown the newest', [version(3, 'DISABLED'), unlisted(4)], 0, []],
    ['none that are destroyed', [version(3, 'DESTROYED'), version(4)], 0, []],
    ['none while the newest is disabled', [version(3, 'DISABLED'), version(4, 'DISABLED')], 0, []],
    [
      'none whose destruction is scheduled',
      [{ ...version(3, 'DISABLED'), destroyScheduled: true }, version(4)],
      0,
      [],
    ],
  ])('%s', (_name, listed, destroyAfterMs, expected) => {
    const policy = destroyAfterMs === undefined ? {} : { destroyAfterMs };
    expect(numbers(versionsToDestroy(listed, policy, NOW))).toEqual(expected);
  });
});

describe('keysToRevoke', () => {
  test.each([
    ['an old one that nobody holds', 'orphan', 2 * HOUR, ['orphan']],
    ['none that is held', 'held', 300 * DAY, []],
    ['none that another run may be about to store', 'young', HOUR, []],
    ['one that is older than that', 'old', HOUR + 1, ['old']],
    ['none that was issued in the future', 'early', -HOUR, []],
  ])('%s', (_name, keyId, age, expected) => {
    const keys = keysToRevoke([ownKey(keyId, age)], new Set(['held']), NOW);
    expect(keys.map((each) => each.keyId)).toEqual(expected);
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
