import { add } from '../../../src/rotation/add';
import type { Found, Issued } from '../../../src/rotation/steps';
import type { StoredPayload, Version } from '../../../src/rotation/ports';
import { HOUR, inTurn, MINUTE, NOW, SECOND, version } from '../support';
import {
  key,
  MAYBE_ADDED,
  NEW_KEY,
  QUOTA,
  scene,
  SECRET,
  STORE_REFUSES,
  UNAVAILABLE,
  type Plan,
} from './scene';

const REFRESHED: Issued = {
  credential: NEW_KEY,
  by: 'refresh',
  issuedAt: NOW,
  newest: 4,
  issuedFrom: 4,
};
const MINTED: Issued = { ...REFRESHED, by: 'mint' };

async function addIn(
  plan: Plan,
  issued = REFRESHED,
  changes: Partial<Found> = {},
  deadline = NOW + 525 * SECOND,
) {
  const { begin, found, calls, clock, pending, latest } = scene(plan);
  pending.keep(SECRET, issued);
  const run = begin({ deadline });
  const outcome = await add(run, issued, { ...found, ...changes }).catch(
    (thrown: unknown) => thrown,
  );
  return {
    outcome,
    tries: calls.filter((call) => call === 'add new').length,
    took: clock.now() - NOW,
    kept: pending.of(SECRET),
    warnings: [...run.trail.warnings],
    latest,
  };
}

test('stores the key as the newest version, and it waits no more', async () => {
  const added = await addIn({});
  expect(added).toMatchObject({ outcome: { number: 5 }, tries: 1, warnings: [] });
  expect(added.kept).toBeUndefined();
  expect(await added.latest()).toBe('new');
});

test('is tried again until it succeeds', async () => {
  const answers = inTurn<Version>(UNAVAILABLE, QUOTA, UNAVAILABLE, version(5));
  const { outcome, tries } = await addIn({ store: { add: answers } });
  expect(outcome).toMatchObject({ number: 5 });
  expect(tries).toBe(4);
});

describe('after a try whose answer was lost', () => {
  const stored = (payload = NEW_KEY.serialize()) =>
    inTurn<StoredPayload | undefined>({ number: 5, payload });
  const listed = inTurn([version(4), version(5)]);
  const lostOnce = () => inTurn<Version>(MAYBE_ADDED, version(6));

  test('the version that it stored is taken', async () => {
    const store = { add: lostOnce(), list: listed, access: stored() };
    const { outcome, tries, kept } = await addIn({ store });
    expect(outcome).toMatchObject({ number: 5 });
    expect(tries).toBe(1);
    expect(kept).toBeUndefined();
  });

  test('that version is looked for after every later try, too', async () => {
    const list = inTurn([version(4)], [version(4)], [version(4), version(5)]);
    const answers = inTurn<Version>(MAYBE_ADDED, UNAVAILABLE);
    const { outcome, tries } = await addIn({ store: { add: answers, list, access: stored() } });
    expect(outcome).toMatchObject({ number: 5 });
    expect(tries).toBe(3);
  });

  test.each<[string, Plan['store'] & object]>([
    [
      "the newer version is somebody else's",
      { list: listed, access: stored(key('theirs').serialize()) },
    ],
    ['the newer version is not enabled any more', { list: listed, access: inTurn(undefined) }],
    ['the newer version cannot be looked at', { list: listed, access: inTurn<never>(UNAVAILABLE) }],
    ['there is none', { list: inTurn([version(4)]), access: stored() }],
    ['the list fails', { list: inTurn<never>(UNAVAILABLE), access: stored() }],
  ])('it is added once more when %s: a second copy is harmless', async (_name, store) => {
    const { outcome, tries } = await addIn({ store: { ...store, add: lostOnce() } });
    expect(outcome).toMatchObject({ number: 6 });
    expect(tries).toBe(2);
  });
});

test('its version is not looked for when none can have been stored', async () => {
  const store = { add: inTurn<Version>(QUOTA, version(5)), list: inTurn<never>(STORE_REFUSES) };
  const { outcome, tries } = await addIn({ store });
  expect(outcome).toMatchObject({ number: 5 });
  expect(tries).toBe(2);
});

describe('a refreshed key that cannot be stored', () => {
  test('is tried until 30 seconds before the deadline, and then kept', async () => {
    const { outcome, took, kept } = await addIn({ store: { add: inTurn<never>(UNAVAILABLE) } });
    expect(outcome).toMatchObject({ code: 'CREDENTIAL_NOT_STORED', cause: UNAVAILABLE });
    expect((outcome as Error).message).toContain('test: SECRET_MANAGER_UNAVAILABLE');
    expect((outcome as Error).message).toContain('keeps the new key in memory');
    expect(took).toBeGreaterThan(489 * SECOND);
    expect(took).toBeLessThanOrEqual(495 * SECOND);
    expect(kept).toBe(REFRESHED);
  });

  test('is kept at once when that is refused', async () => {
    const { outcome, tries, kept } = await addIn({ store: { add: inTurn<never>(STORE_REFUSES) } });
    expect(outcome).toMatchObject({ code: 'CREDENTIAL_NOT_STORED' });
    expect(tries).toBe(1);
    expect(kept).toBe(REFRESHED);
  });
});

describe('a minted key that cannot be stored', () => {
  const late = NOW + HOUR - 15 * SECOND;

  test("is left alone, for it may have been stored, and the store's error is told", async () => {
    const plan: Plan = { store: { add: inTurn<never>(STORE_REFUSES) } };
    const { begin, found, calls } = scene(plan);
    await expect(add(begin(), MINTED, found)).rejects.toBe(STORE_REFUSES);
    expect(calls).toEqual(['add new']);
    expect((await addIn(plan, MINTED)).kept).toBeUndefined();
  });

  test('is tried until shortly before the deadline', async () => {
    const { outcome, took } = await addIn({ store: { add: inTurn<never>(UNAVAILABLE) } }, MINTED);
    expect(outcome).toBe(UNAVAILABLE);
    expect(took).toBeGreaterThan(489 * SECOND);
  });

  test('is tried for 45 minutes at most, for in an hour it is an orphan', async () => {
    const { took } = await addIn({ store: { add: inTurn<never>(QUOTA) } }, MINTED, {}, late);
    expect(took).toBeGreaterThan(44 * MINUTE);
    expect(took).toBeLessThanOrEqual(45 * MINUTE);
  });

  test('is not even tried later than that', async () => {
    const issued = { ...MINTED, issuedAt: NOW - 45 * MINUTE - 1 };
    const { outcome, tries } = await addIn({}, issued, {}, late);
    expect(outcome).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect((outcome as Error).message).toContain('minted more than 45 minutes ago');
    expect(tries).toBe(0);
  });

  test('unlike a refreshed one, which is stored however old it is', async () => {
    const issued = { ...REFRESHED, issuedAt: NOW - 24 * HOUR };
    expect((await addIn({}, issued, {}, late)).outcome).toMatchObject({ number: 5 });
  });
});

test('a secret that was deleted and made anew meanwhile is warned of', async () => {
  const { warnings } = await addIn({ store: { add: inTurn(version(1)) } });
  expect(warnings).toEqual([
    expect.stringContaining('made anew during the run; nothing was retired'),
  ]);
});

test('a key that never expires is named when it is superseded', async () => {
  const current = { version: version(4), credential: key('k4', Infinity) };
  const { warnings } = await addIn({}, MINTED, { current });
  expect(warnings).toEqual([
    expect.stringMatching(/^the key of version 4 \(k4\) never expires.*The vendor/),
  ]);
});
