import fc from 'fast-check';
import {
  parseVersion,
  parseVersionName,
  toVersionList,
  type ApiVersion,
} from '../../../src/secret-manager/versions';
import { NOW, SECOND, secretName } from '../support';

const SECRET = secretName('projects/p/secrets/s');

function entry(number: number, fields: Partial<ApiVersion> = {}): ApiVersion {
  return {
    name: `projects/12/secrets/s/versions/${number}`,
    state: 'ENABLED',
    createTime: { seconds: number * 100, nanos: 0 },
    etag: `"${number}"`,
    ...fields,
  };
}

const list = (...entries: ApiVersion[]) => toVersionList(entries, SECRET, NOW);

test('lists versions once each, in ascending order', () => {
  const { versions, canonicalName } = list(entry(3), entry(2), entry(3), entry(2), entry(1));
  expect(versions.map(({ number }) => number)).toEqual([1, 2, 3]);
  expect(canonicalName).toBe('projects/12/secrets/s');
});

test.each([
  [['ENABLED', 'DISABLED'], 'ENABLED'],
  [['DESTROYED', 'DISABLED'], 'DISABLED'],
  [['DESTROYED', 'ENABLED'], 'ENABLED'],
  [['DESTROYED', 'DESTROYED'], 'DESTROYED'],
] as const)('takes the earlier state of a version that is listed as %j', (states, expected) => {
  const entries = states.map((state) => entry(1, { state, etag: state }));
  for (const ordered of [entries, entries.toReversed()]) {
    expect(list(...ordered).versions).toMatchObject([{ state: expected, etag: expected }]);
  }
});

test('takes the later time of a version that is listed with two', () => {
  const other = entry(1, { createTime: { seconds: 500 } });
  const none = entry(1, { createTime: null });
  expect(list(other, entry(1)).versions).toMatchObject([{ createdAt: 500 * SECOND }]);
  for (const entries of [
    [entry(1), none],
    [none, entry(1)],
  ]) {
    expect(list(...entries).versions).toMatchObject([{ createdAt: 100 * SECOND }]);
  }
});

test('keeps a version without a known state, as enabled and incomplete', () => {
  const unknown = { state: 'STATE_UNSPECIFIED' } as const;
  expect(list(entry(1, unknown), entry(2)).versions).toMatchObject([
    { number: 1, state: 'ENABLED', incomplete: true },
    { number: 2, incomplete: false },
  ]);
  expect(list(entry(1, unknown), entry(1, { state: 'DESTROYED' })).versions).toMatchObject([
    { state: 'ENABLED', incomplete: true },
  ]);
});

test('dates a version without a time by the next one, and the newest by now', () => {
  const none = { createTime: null };
  const { versions } = list(entry(1), entry(2, none), entry(3), entry(4, none));
  const times = versions.map(({ createdAt }) => createdAt);
  expect(times).toEqual([100 * SECOND, 300 * SECOND, 300 * SECOND, NOW]);
  expect(versions.map(({ incomplete }) => incomplete)).toEqual([false, true, false, true]);
});

test.each([
  ['no name', { name: null }],
  ['no number', { name: 'projects/12/secrets/s/versions/latest' }],
  ['number 0', { name: 'projects/12/secrets/s/versions/0' }],
  ['a number that is too large', { name: `projects/12/secrets/s/versions/${'9'.repeat(16)}` }],
  ["another secret's name", { name: 'projects/12/secrets/t/versions/1' }],
  ["a regional secret's name", { name: 'projects/12/locations/eu/secrets/s/versions/1' }],
])('skips an entry with %s, and keeps the others', (_, fields) => {
  expect(list(entry(1, fields), entry(2)).versions.map(({ number }) => number)).toEqual([2]);
});

test('reads the fields of a version', () => {
  const version = entry(7, {
    state: 'DISABLED',
    createTime: { seconds: '1700000000', nanos: 123_999_999 },
    scheduledDestroyTime: { seconds: '1800000000' },
  });
  expect(parseVersion(version, SECRET, NOW)).toEqual({
    number: 7,
    state: 'DISABLED',
    createdAt: 1_700_000_000_123,
    etag: '"7"',
    destroyScheduled: true,
    incomplete: false,
  });
  expect(parseVersion(entry(7, { etag: '' }), SECRET, NOW)?.etag).toBeUndefined();
});

describe('for any entries', () => {
  const anything = fc.anything({ maxDepth: 2 });
  const time = fc.oneof(anything, fc.record({ seconds: fc.oneof(fc.integer(), anything) }));
  const name = fc.oneof(
    anything,
    fc.integer({ min: 0, max: 5 }).map((n) => `projects/12/secrets/s/versions/${n}`),
    fc.integer({ min: 0, max: 5 }).map((n) => `projects/p/secrets/t/versions/${n}`),
  );
  const state = fc.oneof(fc.constantFrom('ENABLED', 'DISABLED', 'DESTROYED', 4), anything);
  const entries = fc.array(
    fc.record(
      { name, state, createTime: time, etag: anything, scheduledDestroyTime: anything },
      { requiredKeys: [] },
    ) as fc.Arbitrary<ApiVersion>,
    { maxLength: 20 },
  );

  test('is unique, sorted, complete in its fields, and never less cautious than an entry', () => {
    fc.assert(
      fc.property(entries, (listed) => {
        const { versions } = toVersionList(listed, SECRET, NOW);
        const numbers = versions.map(({ number }) => number);
        expect(numbers).toEqual([...new Set(numbers)].toSorted((a, b) => a - b));
        for (const version of versions) {
          expect(Number.isFinite(version.createdAt)).toBe(true);
          expect(typeof version.etag).toMatch(/string|undefined/);
          const same = listed.filter(
            (one) => parseVersionName(one.name, SECRET)?.number === version.number,
          );
          const all = (...states: unknown[]) => same.every((one) => states.includes(one.state));
          if (version.state === 'DESTROYED') expect(all('DESTROYED')).toBe(true);
          if (version.state === 'DISABLED') expect(all('DISABLED', 'DESTROYED')).toBe(true);
          if (version.incomplete !== true) {
            expect(all('ENABLED', 'DISABLED', 'DESTROYED')).toBe(true);
          }
        }
        const named = listed.flatMap((one) => parseVersionName(one.name, SECRET)?.number ?? []);
        expect(new Set(numbers)).toEqual(new Set(named));
      }),
    );
  });
});
