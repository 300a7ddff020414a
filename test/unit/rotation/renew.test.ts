import type { ErrorCode, RotationError } from '../../../src/errors';
import type { Inspection } from '../../../src/rotation/inspect';
import type { Access, IssuedKey, Version } from '../../../src/rotation/ports';
import { renew, type Renewal } from '../../../src/rotation/renew';
import { DAY, HOUR, inTurn, MINUTE, SECOND, version } from '../support';
import {
  ACCEPTED,
  error,
  INCONCLUSIVE,
  key,
  LOST,
  MAYBE_ADDED,
  NEW_KEY,
  QUOTA,
  REFUSED,
  REJECTED,
  SECRET,
  STORE_REFUSES,
  testBed,
  UNAVAILABLE,
  type Plan,
} from './test-bed';

const BUSY = error('MOMENTO_LIMIT_EXCEEDED');
const ISSUED: IssuedKey = { credential: NEW_KEY, warnings: [] };
const MINT: Plan['next'] = { by: 'mint' };
const REJECTS_NEW: Plan['check'] = (keyId) => (keyId === 'new' ? REJECTED : ACCEPTED);

async function renewIn(
  plan: Plan,
  { deadline = 525 * SECOND, ...changes }: Partial<Inspection> & { deadline?: number } = {},
) {
  const bed = testBed(plan);
  const { clock, calls, inspection, begin, unsaved } = bed;
  const start = clock.monotonic();
  const run = begin({ deadline: start + deadline });
  const { renewal, warnings, revoked } = await renew(run, { ...inspection, ...changes });
  return {
    ...bed,
    renewal,
    warnings,
    revoked,
    issues: calls.filter((call) => call === 'issue').length,
    adds: calls.filter((call) => call === 'add new').length,
    took: clock.monotonic() - start,
    kept: unsaved.get(SECRET)?.credential,
  };
}

const codeOf = (renewal: Renewal): ErrorCode | undefined =>
  'error' in renewal ? renewal.error.code : undefined;
const errorOf = (renewal: Renewal): RotationError => {
  if ('error' in renewal) return renewal.error;
  throw new Error(`no error: ${renewal.kind}`);
};

/** A newer version in the store, which the inspection hasn't seen. */
const THEIRS: Plan = { versions: [version(3, 'DISABLED'), version(4), version(5)] };

test('issues, verifies and adds, in this order', async () => {
  const { renewal, calls, warnings, revoked, kept, latest } = await renewIn({});
  expect(calls).toEqual(['issue', 'verifyNew new', 'add new']);
  expect(renewal).toMatchObject({
    kind: 'rotated',
    version: { number: 5 },
    check: ACCEPTED,
    issued: {
      credential: NEW_KEY,
      by: 'refresh',
      issuedFrom: { number: 4 },
      usedTokenFingerprint: 'token of k4',
      newestAtIssue: 4,
    },
  });
  expect([warnings, revoked, kept]).toEqual([[], [], undefined]);
  expect(await latest()).toBe('new');
});

test('issues the first key of an empty secret from nothing', async () => {
  const { renewal } = await renewIn({ versions: [], next: MINT });
  expect(renewal).toMatchObject({
    kind: 'rotated',
    version: { number: 1 },
    issued: { by: 'mint', issuedFrom: undefined, newestAtIssue: 0 },
  });
});

test('reports the warnings of the issuer', async () => {
  const warnings = ['the answer had no refresh token'];
  const issue = inTurn<IssuedKey>({ credential: NEW_KEY, warnings });
  expect((await renewIn({ next: { issue } })).warnings).toEqual(warnings);
});

describe('issue', () => {
  test.each<[ErrorCode, number, number]>([
    ['MOMENTO_UNAVAILABLE', 525, 90],
    ['MOMENTO_UNAVAILABLE', 120, 30],
    ['MOMENTO_LIMIT_EXCEEDED', 525, 120],
  ])(
    'is retried when it fails with %s and %d s are left for %d s',
    async (code, left, expected) => {
      const { renewal, took } = await renewIn(
        { next: { issue: inTurn<never>(error(code)) } },
        { deadline: left * SECOND },
      );
      expect(renewal).toMatchObject({ kind: 'not_renewed', step: 'issue', error: { code } });
      expect(took).toBeLessThanOrEqual(expected * SECOND);
      expect(took).toBeGreaterThan((expected - 6) * SECOND);
    },
  );

  test('waits as long as Retry-After, or fails at once when there is less time', async () => {
    const busy = (retryAfterMs: number) => error('MOMENTO_LIMIT_EXCEEDED', { retryAfterMs });
    const waited = await renewIn({ next: { issue: inTurn<IssuedKey>(busy(2 * MINUTE), ISSUED) } });
    expect([waited.renewal.kind, waited.took]).toEqual(['rotated', 2 * MINUTE]);
    const failed = await renewIn({ next: { issue: inTurn<never>(busy(HOUR)) } });
    expect([codeOf(failed.renewal), failed.took]).toEqual(['MOMENTO_LIMIT_EXCEEDED', 0]);
  });

  test.each([
    ['ISSUED_CREDENTIAL_INVALID', error('ISSUED_CREDENTIAL_INVALID')],
    ['INTERNAL', new TypeError('planted')],
  ])("isn't repeated when it fails with %s", async (code, failure) => {
    const { renewal, issues } = await renewIn({ next: { issue: inTurn<never>(failure) } });
    expect([codeOf(renewal), issues]).toEqual([code, 1]);
  });

  test.each([0, 1, 3])(
    'is repeated after %d unknown outcomes at most',
    async (maxUnknownOutcomes) => {
      const { renewal, issues } = await renewIn({
        next: { maxUnknownOutcomes, issue: inTurn<never>(LOST) },
      });
      expect([codeOf(renewal), issues]).toEqual([LOST.code, maxUnknownOutcomes + 1]);
    },
  );

  test("doesn't count attempts without effect among unknown outcomes", async () => {
    const transient = error('MOMENTO_UNAVAILABLE');
    const issue = inTurn<IssuedKey>(transient, LOST, BUSY, transient, ISSUED);
    const { renewal, issues } = await renewIn({ next: { issue } });
    expect([renewal.kind, issues]).toEqual(['rotated', 5]);
  });

  test.each([
    ['begins', 90 * SECOND, 1, undefined],
    ["doesn't begin", 90 * SECOND - 1, 0, 'DEADLINE_EXCEEDED'],
  ])('%s with %d ms left', async (_name, deadline, issues, code) => {
    const renewed = await renewIn({}, { deadline });
    expect([renewed.issues, codeOf(renewed.renewal)]).toEqual([issues, code]);
  });

  test('gets the latest time at which it can begin', async () => {
    const deadlines: number[] = [];
    const issue = ({ deadline }: { deadline: number }) =>
      Promise.resolve(ISSUED).finally(() => deadlines.push(deadline));
    const { clock } = await renewIn({ next: { issue } });
    expect(deadlines).toEqual([clock.monotonic() + (525 - 90) * SECOND]);
  });

  test.each(['refresh', 'mint'] as const)(
    'by %s keeps only a refreshed credential in memory until it is added',
    async (by) => {
      let kept: unknown;
      const verifyNew = () => {
        kept = bed.unsaved.get(SECRET)?.credential;
        return Promise.resolve(ACCEPTED);
      };
      const bed = testBed({ next: { by }, session: { verifyNew } });
      await renew(bed.begin(), bed.inspection);
      expect(kept).toBe(by === 'refresh' ? NEW_KEY : undefined);
      expect(bed.unsaved.get(SECRET)).toBeUndefined();
    },
  );
});

describe('a refusal', () => {
  const refuses: Plan['next'] = { issue: inTurn<never>(REFUSED) };

  test('is final, and made precise by the issuer', async () => {
    const { renewal, issues, clock } = await renewIn({ next: refuses });
    const failure = { kind: 'not_renewed', step: 'issue', error: { code: 'REFRESH_REFUSED' } };
    expect(renewal).toMatchObject(failure);
    expect(errorOf(renewal).problem).toContain(`Refused at ${clock.now()}.`);
    expect(issues).toBe(1);
  });

  test.each<[string, Error, ErrorCode]>([
    ['is REFRESH_ANSWER_LOST when an answer was lost before', LOST, 'REFRESH_ANSWER_LOST'],
    ['is REFRESH_REFUSED when no answer was lost', BUSY, 'REFRESH_REFUSED'],
  ])('%s', async (_name, first, code) => {
    const { renewal } = await renewIn({ next: { issue: inTurn<never>(first, REFUSED) } });
    expect(codeOf(renewal)).toBe(code);
  });

  test('of a refresh is no failure when another run adds a version within 5 s', async () => {
    const bed = testBed({ next: refuses });
    void bed.clock.sleep(3 * SECOND).then(() => bed.versions.set(5, version(5)));
    const { renewal } = await renew(bed.begin(), bed.inspection);
    expect(renewal).toEqual({ kind: 'superseded', by: 5 });
    expect((await renewIn({ next: refuses })).took).toBe(5 * SECOND);
  });

  test('of a mint waits for no other run', async () => {
    const { renewal, took } = await renewIn({ ...THEIRS, next: { ...refuses, by: 'mint' } });
    expect([codeOf(renewal), took]).toEqual(['REFRESH_REFUSED', 0]);
  });

  test.each([UNAVAILABLE, STORE_REFUSES])(
    'stays one when newer versions cannot be seen: $code',
    async (failure) => {
      const store = { access: inTurn<never>(failure) };
      const { renewal } = await renewIn({ next: refuses, store });
      expect(codeOf(renewal)).toBe('REFRESH_REFUSED');
    },
  );
});

describe('verify', () => {
  test('rejected: adds nothing, and keeps a refreshed credential', async () => {
    const { renewal, adds, kept, revoked } = await renewIn({ check: REJECTS_NEW });
    const failure = { kind: 'not_renewed', step: 'verify', error: { code: 'NEW_KEY_REJECTED' } };
    expect(renewal).toMatchObject(failure);
    expect(errorOf(renewal).problem).toContain('cache.example.com');
    expect(errorOf(renewal).problem).toContain('its next run verifies it again');
    expect([adds, kept, revoked]).toEqual([0, NEW_KEY, []]);
  });

  test('rejected: revokes a minted key at once', async () => {
    const { renewal, calls, kept, revoked } = await renewIn({ check: REJECTS_NEW, next: MINT });
    expect(errorOf(renewal).problem).toContain('The next run mints another one');
    expect(calls.at(-1)).toBe('revoke new');
    expect([kept, revoked]).toEqual([undefined, ['new']]);
  });

  test('inconclusive: adds the key, with a warning', async () => {
    const { renewal, warnings } = await renewIn({ check: () => INCONCLUSIVE });
    expect(renewal).toMatchObject({ kind: 'rotated', check: INCONCLUSIVE });
    expect(warnings).toEqual([
      "the new key was added unverified: cache.example.com couldn't be reached (ECONNREFUSED)",
    ]);
  });

  test('inconclusive, and not added: has no warning about an unverified key', async () => {
    const plan = { check: () => INCONCLUSIVE, addFails: [STORE_REFUSES] };
    const { renewal, warnings } = await renewIn(plan);
    expect([renewal.kind, warnings]).toEqual(['not_stored', []]);
  });
});

describe('a newer version', () => {
  test.each<[string, Plan]>([
    ['is left the newest', THEIRS],
    ['is left the newest when the new key is rejected', { ...THEIRS, check: REJECTS_NEW }],
    ['is left the newest in any state', { versions: [version(4), version(5, 'DISABLED')] }],
    [
      'is left the newest although no list shows it',
      { ...THEIRS, store: { list: inTurn({ versions: [version(4)] }) } },
    ],
  ])('%s, and a refreshed credential stays unsaved', async (_name, plan) => {
    const { renewal, adds, kept } = await renewIn(plan);
    expect(renewal).toEqual({ kind: 'superseded', by: 5 });
    expect([adds, kept]).toEqual([0, NEW_KEY]);
  });

  test('is found by number, however many there are', async () => {
    const versions = [version(4), version(5), version(6, 'DESTROYED'), version(7)];
    const { renewal } = await renewIn({ versions });
    expect(renewal).toEqual({ kind: 'superseded', by: 7 });
  });

  test('is superseded by the new key when it is a copy of the current version', async () => {
    const contents = { 5: key('k4') };
    const { renewal, adds } = await renewIn({ ...THEIRS, contents });
    expect([renewal, adds]).toMatchObject([{ kind: 'rotated', version: { number: 6 } }, 1]);
  });

  test('is left the newest although a copy of the current version follows', async () => {
    const versions = [version(4), version(5), version(6)];
    const { renewal } = await renewIn({ versions, contents: { 6: key('k4') } });
    expect(renewal).toEqual({ kind: 'superseded', by: 5 });
  });

  test('has a minted key revoked at once', async () => {
    const { calls, revoked } = await renewIn({ ...THEIRS, next: MINT });
    expect([calls.at(-1), revoked]).toEqual(['revoke new', ['new']]);
  });

  test('stays the newest when the minted key could not be revoked, which is a warning', async () => {
    const revoke = () => Promise.resolve(new Map([['new', error('MOMENTO_UNAVAILABLE')]]));
    const plan: Plan = { ...THEIRS, next: MINT, session: { revoke } };
    const { renewal, revoked, warnings, took } = await renewIn(plan);
    expect([renewal.kind, revoked]).toEqual(['superseded', []]);
    expect(warnings).toEqual([
      expect.stringMatching(/^the new key new, .* couldn't be revoked \(MOMENTO_UNAVAILABLE\)/),
    ]);
    expect(took).toBeLessThanOrEqual(30 * SECOND);
  });

  test('that was added before the new one has a revoked minted key replaced', async () => {
    let added = 5;
    const bed = testBed({
      next: MINT,
      store: { add: () => Promise.resolve(version((added += 1))) },
      // A compromise response of another process added version 5, and revoked the first new key.
      check: () => (added === 6 && issues() === 1 ? REJECTED : ACCEPTED),
    });
    const issues = () => bed.calls.filter((call) => call === 'issue').length;
    const { renewal } = await renew(bed.begin(), bed.inspection);
    expect(renewal).toMatchObject({ kind: 'rotated', version: { number: 7 }, check: ACCEPTED });
    expect(issues()).toBe(2);
  });

  test('has no key without an id revoked', async () => {
    const issue = inTurn<IssuedKey>({ credential: { ...NEW_KEY, keyId: undefined }, warnings: [] });
    expect((await renewIn({ ...THEIRS, next: { by: 'mint', issue } })).revoked).toEqual([]);
  });

  test.each([UNAVAILABLE, STORE_REFUSES, QUOTA])(
    'is assumed not to exist when the search fails with $code',
    async (failure) => {
      const store = { access: inTurn<never>(failure) };
      const { renewal, warnings, took } = await renewIn({ store });
      expect(renewal.kind).toBe('rotated');
      expect(warnings).toEqual([
        `the search for a newer version failed with ${failure.code}; the run continued without it`,
      ]);
      expect(took).toBeLessThanOrEqual(30 * SECOND);
    },
  );
});

describe('a denied access to a number that no version has', () => {
  const reason = 'IAM_PERMISSION_DENIED';
  const DENIED: Access = { kind: 'not_readable', reason, isDenied: true };

  test("isn't taken for a newer version", async () => {
    const { renewal, warnings, kept } = await renewIn({ store: { access: inTurn(DENIED) } });
    expect(renewal).toMatchObject({ kind: 'rotated', version: { number: 5 } });
    expect([warnings, kept]).toEqual([[], undefined]);
  });

  test('is no reason to lose the credential if the version itself is denied as well', async () => {
    const get = inTurn<never>(error('PERMISSION_MISSING'));
    const { renewal, warnings } = await renewIn({ store: { access: inTurn(DENIED), get } });
    expect(renewal.kind).toBe('rotated');
    expect(warnings).toEqual([expect.stringContaining('failed with PERMISSION_MISSING')]);
  });

  test('does not hide a newer version that exists', async () => {
    const { renewal } = await renewIn({ ...THEIRS, store: { access: inTurn(DENIED) } });
    expect(renewal).toEqual({ kind: 'superseded', by: 5 });
  });

  test('ends the search for a copy of a lost add', async () => {
    const { renewal, adds, took } = await renewIn({
      addFails: [MAYBE_ADDED],
      store: { access: inTurn<Access>({ kind: 'absent' }, DENIED) },
    });
    expect(renewal.kind).toBe('rotated');
    expect(adds).toBe(2);
    expect(took).toBeLessThan(SECOND);
  });
});

describe('add', () => {
  test('is repeated until it succeeds', async () => {
    const addFails = [UNAVAILABLE, QUOTA, error('CREDENTIALS_UNAVAILABLE'), UNAVAILABLE];
    const { renewal, adds } = await renewIn({ addFails });
    expect(renewal).toMatchObject({ kind: 'rotated', version: { number: 5 } });
    expect(adds).toBe(5);
  });

  describe('after an attempt whose outcome is unknown', () => {
    const COPY: Access = { kind: 'payload', number: 5, payload: NEW_KEY.serialize() };
    const lostOnce = () => inTurn<Version>(MAYBE_ADDED, version(6));
    const finds = (...found: (Access | Error)[]) => inTurn<Access>({ kind: 'absent' }, ...found);

    const denied = inTurn<never>(error('PERMISSION_MISSING'));

    test.each<[string, Plan['store']]>([
      ['takes the version that it added', {}],
      ['takes it although no list shows it', { list: inTurn({ versions: [] }) }],
      ["takes it although the version itself can't be had", { get: denied }],
    ])('%s', async (_name, changes) => {
      const store = { add: lostOnce(), access: finds(COPY), ...changes };
      const { renewal, adds, kept } = await renewIn({ store });
      expect(renewal).toMatchObject({ kind: 'rotated', version: { number: 5 } });
      expect([adds, kept]).toEqual([1, undefined]);
    });

    const theirs = { ...COPY, payload: key('theirs').serialize() };

    test.each<[string, Access | Error]>([
      ['there is none', { kind: 'absent' }],
      ['the newer version contains something else', theirs],
      ["the newer version can't be read", { kind: 'not_readable', reason: 'FAILED_PRECONDITION' }],
      ['the search fails', UNAVAILABLE],
    ])('adds once more when %s: a second copy is harmless', async (_name, found) => {
      const store = { add: lostOnce(), access: finds(found, { kind: 'absent' }) };
      const { renewal, adds } = await renewIn({ store });
      expect(renewal).toMatchObject({ kind: 'rotated', version: { number: 6 } });
      expect(adds).toBe(2);
    });

    test('makes two copies at most when each add arrives two seconds after its deadline', async () => {
      let isArrived = false;
      const bed = testBed({
        store: {
          add: async (_, payload) => {
            void bed.clock.sleep(12 * SECOND).then(() => {
              const number = Math.max(...bed.versions.keys()) + 1;
              bed.versions.set(number, version(number));
              bed.payloads.set(number, payload);
              isArrived = true;
            });
            await bed.clock.sleep(10 * SECOND);
            throw MAYBE_ADDED;
          },
        },
      });
      const { renewal } = await renew(bed.begin(), bed.inspection);
      await bed.clock.sleep(HOUR);
      expect(renewal).toMatchObject({ kind: 'rotated', version: { number: 5 } });
      expect(isArrived).toBe(true);
      expect([...bed.versions.keys()]).toEqual([3, 4, 5, 6]);
    });

    test('searches once more after the last attempt', async () => {
      const bed = testBed({
        store: {
          add: () => bed.clock.sleep(10 * SECOND).then(() => Promise.reject(MAYBE_ADDED)),
          access: () => Promise.resolve(bed.clock.monotonic() > latest ? COPY : { kind: 'absent' }),
        },
      });
      const run = bed.begin();
      const latest = run.deadlines.latestAdd;
      const { renewal } = await renew(run, bed.inspection);
      expect(renewal).toMatchObject({ kind: 'rotated', version: { number: 5 } });
    });
  });

  test('searches for no copy when every attempt certainly failed', async () => {
    const copy: Access = { kind: 'payload', number: 5, payload: NEW_KEY.serialize() };
    const access = inTurn<Access>({ kind: 'absent' }, copy);
    const add = inTurn<Version>(QUOTA, version(6));
    const { renewal, adds } = await renewIn({ store: { access, add } });
    expect(renewal).toMatchObject({ kind: 'rotated', version: { number: 6 } });
    expect(adds).toBe(2);
  });

  test('is attempted although the issue and the verification took until 28 s before the deadline', async () => {
    const bed = testBed({
      check: () => INCONCLUSIVE,
      next: { issue: () => bed.clock.sleep(59 * SECOND).then(() => ISSUED) },
      store: {
        add: (secret, payload, { deadline }) =>
          bed.clock.monotonic() > deadline
            ? Promise.reject(error('DEADLINE_EXCEEDED'))
            : memory.add(secret, payload, { deadline }),
      },
    });
    const memory = testBed().environment.store;
    const run = bed.begin({ deadline: bed.clock.monotonic() + 90 * SECOND });
    expect((await renew(run, bed.inspection)).renewal.kind).toBe('rotated');
  });

  test('is retried until 30 s before the deadline, and the refreshed credential is kept', async () => {
    const { renewal, took, kept } = await renewIn({ store: { add: inTurn<never>(UNAVAILABLE) } });
    expect(renewal).toMatchObject({
      kind: 'not_stored',
      isCertain: true,
      error: { code: 'CREDENTIAL_NOT_STORED', cause: UNAVAILABLE },
    });
    expect(errorOf(renewal).problem).toContain('This instance keeps the key in memory');
    expect(took).toBeGreaterThan(489 * SECOND);
    expect(took).toBeLessThanOrEqual(495 * SECOND);
    expect(kept).toBe(NEW_KEY);
  });

  test('that is refused ends at once, and the refreshed credential is kept', async () => {
    const { renewal, adds, kept, revoked } = await renewIn({ addFails: [STORE_REFUSES] });
    expect(codeOf(renewal)).toBe('CREDENTIAL_NOT_STORED');
    expect([adds, kept, revoked]).toEqual([1, NEW_KEY, []]);
  });
});

describe('a minted key that is not stored', () => {
  const LATE = { deadline: HOUR - 15 * SECOND };

  test('is revoked at once when every attempt was certainly refused', async () => {
    const plan = { next: MINT, addFails: [QUOTA, STORE_REFUSES] };
    const { renewal, calls, revoked } = await renewIn(plan);
    expect(renewal).toEqual({ kind: 'not_stored', error: STORE_REFUSES, isCertain: true });
    expect(calls.slice(-2)).toEqual(['add new', 'revoke new']);
    expect(revoked).toEqual(['new']);
  });

  test('is left alone when the outcome of one attempt is unknown', async () => {
    const plan = { next: MINT, addFails: [MAYBE_ADDED, STORE_REFUSES] };
    const { renewal, calls, revoked } = await renewIn(plan);
    expect(renewal).toEqual({ kind: 'not_stored', error: STORE_REFUSES, isCertain: false });
    expect([calls.at(-1), revoked]).toEqual(['add new', []]);
  });

  test('is retried for 45 minutes at most: after an hour it is orphaned', async () => {
    const { took } = await renewIn({ next: MINT, store: { add: inTurn<never>(QUOTA) } }, LATE);
    expect(took).toBeGreaterThan(44 * MINUTE);
    expect(took).toBeLessThanOrEqual(45 * MINUTE);
  });

  // As if the whole instance had stood still.
  async function renewAfterStandstill(next: Plan['next']) {
    const verifyNew = () => bed.clock.sleep(46 * MINUTE).then(() => ACCEPTED);
    const bed = testBed({ next, session: { verifyNew } });
    const run = bed.begin({ deadline: bed.clock.monotonic() + LATE.deadline });
    return { ...(await renew(run, bed.inspection)), calls: bed.calls };
  }

  test("isn't added later", async () => {
    const { renewal, revoked, calls } = await renewAfterStandstill(MINT);
    expect(renewal).toMatchObject({ kind: 'not_stored', error: { code: 'DEADLINE_EXCEEDED' } });
    expect(errorOf(renewal).problem).toContain('minted more than 45 minutes ago');
    expect(revoked).toEqual(['new']);
    expect(calls).not.toContain('add new');
  });

  test('is added later if it was refreshed', async () => {
    expect((await renewAfterStandstill({})).renewal.kind).toBe('rotated');
  });
});

describe('warns', () => {
  test('when the secret was recreated during the run', async () => {
    const { warnings } = await renewIn({ store: { add: inTurn(version(1)) } });
    expect(warnings).toEqual(['the secret was recreated during the run; no version was disabled']);
  });

  test('when the superseded key never expires', async () => {
    const current = { version: version(4), credential: key('k4', Infinity) };
    const { warnings } = await renewIn({}, { current });
    expect(warnings).toEqual([
      expect.stringMatching(/^the key of version 4 \(k4\) never expires.*The issuer/),
    ]);
  });
});

describe('a setting that does not fit the lifetime of the new key, which is 30 days', () => {
  const longer = { renewBefore: { minimumMs: 30 * DAY } };
  const half = (gracePeriodMs: number) => ({ renewBefore: { share: 0.5 }, gracePeriodMs });
  const DUE = 'RENEW_BEFORE it is due already: every run rotates the secret';
  const GRACE = 'GRACE_PERIOD is longer than the 15 days';

  test.each<[string, Plan, string[]]>([
    ['RENEW_BEFORE is longer', { policy: longer }, [DUE]],
    ['GRACE_PERIOD is longer than what remains at renewal', { policy: half(16 * DAY) }, [GRACE]],
    ['both fit', { policy: half(14 * DAY) }, []],
    ['every run rotates', { policy: { gracePeriodMs: 60 * DAY } }, []],
    ['the start has checked it', { policy: longer, secret: { lifetimeMs: 30 * DAY } }, []],
  ])('when %s', async (_name, plan, expected) => {
    const { warnings } = await renewIn(plan);
    expect(warnings).toEqual(expected.map((text) => expect.stringContaining(text) as string));
  });
});

test('is unaffected when the wall clock is set back', async () => {
  const issue = () => {
    bed.clock.setWallClock(bed.clock.now() - 2 * DAY);
    return Promise.resolve(ISSUED);
  };
  const bed = testBed({ next: { ...MINT, issue } });
  expect((await renew(bed.begin(), bed.inspection)).renewal.kind).toBe('rotated');
});
