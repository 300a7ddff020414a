import type { Inspection } from '../../../src/rotation/inspect';
import type { RenewalPolicy } from '../../../src/rotation/policy';
import type { IssuedKey, KeyCheck, NextKey, Permission } from '../../../src/rotation/ports';
import type { Renewal } from '../../../src/rotation/renew';
import { keyInUse, rotate } from '../../../src/rotation/rotate';
import type { RunOptions } from '../../../src/rotation/run';
import { DAY, inTurn, MINUTE, NOW, SECOND, version } from '../support';
import {
  ACCEPTED,
  effects,
  error,
  INCONCLUSIVE,
  key,
  NEW_KEY,
  NOT_DUE,
  ownKey,
  REFUSED,
  REJECTED,
  REJECTED_BY_ISSUER,
  SECRET,
  STORE_REFUSES,
  testBed,
  type Plan,
} from './test-bed';

const KEYS = ['k2', 'k3', 'k4'].map((name) => ownKey(name));
/** Version 3 was left enabled by an earlier run, and 2 was disabled long ago. */
const LEFT_OVER: Plan = { versions: [version(2, 'DISABLED'), version(3), version(4)] };
const ALL: Partial<RenewalPolicy> = { destroyAfterMs: 0, revoke: true };
/** A run cleans up everything that it can. */
const CLEANS_UP: Plan = { ...LEFT_OVER, policy: ALL, ownKeys: KEYS };
const CLEANUP = ['disable 3', 'destroy 2', 'revoke k2', 'revoke k3'];
const MINT: Partial<NextKey> = { by: 'mint' };
const BLOCKER = error('KEY_NOT_REFRESHABLE');
const LACKS = (...missing: Permission[]): Plan['store'] => ({
  missingPermissions: inTurn(missing),
});
const REJECTED_NOW = 'Applications are being rejected now.';
const UNTIL = 'Applications can use the current key until 2026-11-11T00:00:00.000Z.';

const checks =
  (answers: Record<string, KeyCheck>): Plan['check'] =>
  (keyId = '') =>
    answers[keyId] ?? ACCEPTED;
const failed = (code: string, step: string) => ({ outcome: 'failed', error: { code, step } });
const incomplete = (code: string, step: string) => ({
  outcome: 'incomplete',
  error: { code, step },
});
const ROTATED = { outcome: 'rotated', version: '5' };
const NO_LATEST = expect.stringContaining('applications that read latest get an error') as string;

interface Expected {
  /** By default 200. */
  readonly status?: number;
  readonly result: object;
  /** All calls, or those with an effect. */
  readonly calls?: readonly string[];
  readonly effects?: readonly string[];
  /** Texts in the error's message. */
  readonly message?: readonly string[];
  readonly latest?: string;
}

async function check(plan: Plan, expected: Expected, options?: Partial<RunOptions>) {
  const bed = testBed(plan);
  const run = await bed.run(options);
  const { status = 200, result } = expected;
  expect(run).toMatchObject({ status, result });
  if (expected.calls) expect(run.calls).toEqual(expected.calls);
  if (expected.effects) expect(effects(run.calls)).toEqual(expected.effects);
  for (const text of expected.message ?? []) expect(run.result.error?.message).toContain(text);
  if (expected.latest !== undefined) expect(await bed.latest()).toBe(expected.latest);
  return { ...bed, ...run };
}

test('names the rejected key that it added when no other key could be issued after it', async () => {
  let isAdded = false;
  const plan: Plan = {
    next: { ...MINT, issue: inTurn<IssuedKey>({ credential: NEW_KEY, warnings: [] }, REFUSED) },
    // A compromise response of another process added version 5, and revoked the new key.
    store: { add: () => Promise.resolve(((isAdded = true), version(6))) },
    check: (keyId) => (isAdded && keyId === 'new' ? REJECTED_BY_ISSUER : ACCEPTED),
  };
  const result = { ...failed('REFRESH_REFUSED', 'issue'), version: '6', keyId: 'new' };
  await check(plan, { status: 502, result, message: [REJECTED_NOW] });
});

/** A test bed in which somebody adds version 5 while the key is issued. */
function bedWithNewer(plan: Plan, next: Partial<NextKey>) {
  const issue = () => {
    bed.versions.set(5, version(5));
    return Promise.resolve({ credential: NEW_KEY, warnings: [] });
  };
  const bed = testBed({ ...plan, next: { ...next, issue } });
  return bed;
}

test('inspects, issues, verifies, adds, disables, destroys and revokes, in this order', async () => {
  const { run, latest } = testBed(CLEANS_UP);
  const { result, status, calls, steps } = await run();
  expect(status).toBe(200);
  expect(result).toEqual({
    secret: 'projects/p/secrets/s',
    outcome: 'rotated',
    reason: 'every run rotates',
    version: '5',
    previousVersion: '4',
    issuedBy: 'refresh',
    keyId: 'new',
    expiresAt: '2026-12-01T00:00:00.000Z',
    verified: true,
    disabled: ['3', '4'],
    destroyed: ['2'],
    revoked: ['k2', 'k3', 'k4'],
  });
  expect(calls).toEqual([
    ...['issue', 'verifyNew new', 'add new', 'disable 3', 'disable 4', 'destroy 2'],
    ...['revoke k2', 'revoke k3', 'revoke k4'],
  ]);
  const order = ['inspect', 'issue', 'verify', 'add', 'disable', 'destroy', 'revoke'];
  expect(Object.keys(steps)).toEqual(order);
  expect(await latest()).toBe('new');
});

test('mints the first key of an empty secret', async () => {
  const { run, latest } = testBed({ versions: [], next: MINT, secret: { role: 'r' }, policy: ALL });
  const { result, status } = await run();
  expect(status).toBe(200);
  expect(result).toEqual({
    secret: 'projects/p/secrets/s',
    outcome: 'rotated',
    reason: 'the secret was empty',
    version: '1',
    issuedBy: 'mint',
    keyId: 'new',
    expiresAt: '2026-12-01T00:00:00.000Z',
    verified: true,
  });
  expect(await latest()).toBe('new');
});

describe('keyInUse', () => {
  const { inspection } = testBed();
  const rotated = (number: number): Renewal => ({
    kind: 'rotated',
    issued: { credential: NEW_KEY, by: 'refresh', issuedAt: 0, newestAtIssue: 4 },
    version: version(number),
    check: ACCEPTED,
  });
  const failure = error('INTERNAL');
  const none: Renewal = { kind: 'not_attempted' };
  const notIssued: Renewal = { kind: 'not_renewed', step: 'issue', error: failure };
  const notStored: Renewal = { kind: 'not_stored', error: failure, isCertain: true };
  const empty = { newest: undefined, current: undefined };

  test.each<[string, Renewal, Partial<Inspection>, string | undefined]>([
    ['the new one after a rotation', rotated(5), {}, 'new'],
    ['unknown when the secret was recreated', rotated(4), {}, undefined],
    ['the current one without an attempt', none, {}, 'k4'],
    ['the current one when none was issued', notIssued, {}, 'k4'],
    ['unknown when the newest is disabled', none, { newest: version(5, 'DISABLED') }, undefined],
    ['unknown when the newest version has no key', none, { current: undefined }, undefined],
    ['unknown when somebody added a version', { kind: 'superseded', by: 5 }, {}, undefined],
    ['unknown when an add failed', notStored, {}, undefined],
    ['unknown in an empty secret', none, empty, undefined],
  ])('is %s', (_name, renewal, changes, expected) => {
    expect(keyInUse({ ...inspection, ...changes }, renewal)?.credential.fingerprint).toBe(expected);
  });
});

test('checks the permissions for all later steps', async () => {
  const asked: Permission[][] = [];
  const missingPermissions = (_: unknown, wanted: readonly Permission[]) =>
    Promise.resolve(void asked.push([...wanted])).then(() => []);
  await testBed({ policy: { destroyAfterMs: DAY }, store: { missingPermissions } }).run();
  expect(asked).toEqual([['access', 'list', 'add', 'disable', 'destroy']]);
});

test.each([
  ['not_due', NOT_DUE, {}],
  ['already_rotated', {}, { scheduledAt: NOW - 6 * DAY }],
])('%s: verifies the newest key, then cleans up', async (outcome, policy, options) => {
  const plan = { ...CLEANS_UP, policy: { ...policy, ...ALL } };
  const known = { version: '4', keyId: 'k4', verified: true, disabled: ['3'], destroyed: ['2'] };
  const expected = { result: { outcome, ...known } };
  const { result, calls } = await check(plan, expected, options);
  expect(calls).toEqual(['verifyNewest k4', ...CLEANUP]);
  expect(result.issuedBy).toBeUndefined();
});

test.each<[string, Plan, Expected]>([
  [
    'changes nothing when the inspection fails',
    { ...CLEANS_UP, store: { list: inTurn<never>(STORE_REFUSES) } },
    { status: 502, result: failed('SECRET_MANAGER_REFUSED', 'inspect'), calls: [] },
  ],
  ...[{}, NOT_DUE].map((policy): [string, Plan, Expected] => [
    'cleans up when the rotation is blocked, due or not',
    { ...CLEANS_UP, policy: { ...policy, ...ALL }, next: BLOCKER },
    {
      status: 422,
      result: { ...failed('KEY_NOT_REFRESHABLE', 'inspect'), version: '4' },
      calls: ['verifyNewest k4', ...CLEANUP],
    },
  ]),
  [
    'uses no token, and does what is permitted, when a permission is missing',
    { ...CLEANS_UP, store: LACKS('disable') },
    {
      status: 403,
      result: failed('PERMISSION_MISSING', 'inspect'),
      effects: ['destroy 2', 'revoke k2'],
    },
  ],
  [
    'recovers a disabled newest version',
    { versions: [version(3), version(4, 'DISABLED')], policy: NOT_DUE },
    {
      result: { ...ROTATED, previousVersion: '3', disabled: ['3'], warnings: [NO_LATEST] },
      latest: 'new',
    },
  ],
  [
    'cleans nothing up when the newest version is disabled and the rotation is blocked',
    { ...CLEANS_UP, versions: [version(2), version(3), version(4, 'DISABLED')], next: BLOCKER },
    {
      status: 422,
      result: failed('KEY_NOT_REFRESHABLE', 'inspect'),
      message: ['Applications that read latest get an error.'],
      calls: [],
    },
  ],
  [
    'cleans nothing up when the newest version of a refreshed secret is unreadable',
    { ...CLEANS_UP, unreadable: [4] },
    {
      status: 409,
      result: { ...failed('VERSION_UNREADABLE', 'inspect'), version: '4' },
      message: ["(FAILED_PRECONDITION). Applications can't read the secret."],
      calls: [],
    },
  ],
  [
    'replaces the unreadable newest version of a minted secret, and cleans nothing up',
    { ...CLEANS_UP, unreadable: [4], next: MINT },
    {
      result: { ...ROTATED, warnings: [expect.stringContaining('FAILED_PRECONDITION')] },
      effects: ['issue', 'add new'],
      latest: 'new',
    },
  ],
  [
    'verifies the current key and cleans up when the issue is refused',
    { ...LEFT_OVER, next: { issue: inTurn<never>(REFUSED) } },
    {
      status: 502,
      result: { ...failed('REFRESH_REFUSED', 'issue'), verified: true, disabled: ['3'] },
      calls: ['issue', 'verifyNewest k4', 'disable 3'],
      message: [UNTIL],
      latest: 'k4',
    },
  ],
  [
    'reports that applications are being rejected when the current key is rejected, too',
    { next: { issue: inTurn<never>(REFUSED) }, check: () => REJECTED },
    {
      status: 502,
      result: { ...failed('REFRESH_REFUSED', 'issue'), verified: false },
      message: [REJECTED_NOW],
    },
  ],
  [
    'verifies the current key and cleans up when the new key is rejected',
    { ...LEFT_OVER, check: checks({ new: REJECTED }) },
    {
      status: 502,
      result: { ...failed('NEW_KEY_REJECTED', 'verify'), version: '4', disabled: ['3'] },
      calls: expect.arrayContaining(['verifyNewest k4']) as string[],
      effects: ['issue', 'disable 3'],
      latest: 'k4',
    },
  ],
  ...[
    { check: () => INCONCLUSIVE },
    { session: { verifyNew: inTurn<never>(new Error('planted')) } },
    { check: () => REJECTED },
  ].map((plan): [string, Plan, Expected] => [
    "adds a key that couldn't be verified, because it must not be lost, and cleans nothing up",
    { ...CLEANS_UP, ...plan },
    {
      status: 503,
      result: { ...incomplete('VERIFY_INCONCLUSIVE', 'verify'), version: '5', verified: false },
      effects: ['issue', 'add new'],
      latest: 'new',
    },
  ]),
  [
    "only warns of a key that couldn't be verified when no cleanup is due",
    { check: () => INCONCLUSIVE, policy: { gracePeriodMs: DAY } },
    {
      result: { outcome: 'rotated', verified: false, warnings: [expect.any(String)] },
    },
  ],
  [
    'fails no run for an inconclusive answer about a key that is not due',
    { policy: NOT_DUE, check: () => INCONCLUSIVE },
    { result: { outcome: 'not_due', verified: false } },
  ],
  [
    'leaves cleanup to the next run after an inconclusive answer about a key that is not due',
    { ...LEFT_OVER, policy: NOT_DUE, check: () => INCONCLUSIVE },
    {
      status: 503,
      result: incomplete('VERIFY_INCONCLUSIVE', 'verify'),
      message: ["of version 4: cache.example.com couldn't be reached (ECONNREFUSED)."],
      effects: [],
    },
  ],
  [
    'verifies and reports nothing when VERIFY is off',
    { ...LEFT_OVER, policy: { verify: false } },
    {
      result: { outcome: 'rotated', verified: undefined, warnings: undefined },
      calls: ['issue', 'add new', 'disable 3', 'disable 4'],
    },
  ],
  [
    'still revokes orphaned keys, of earlier runs too, when the add fails',
    { ...CLEANS_UP, next: MINT, addFails: [STORE_REFUSES], ownKeys: [...KEYS, ownKey('earlier')] },
    {
      status: 502,
      result: { ...failed('SECRET_MANAGER_REFUSED', 'add'), revoked: ['new', 'k2', 'earlier'] },
      effects: ['issue', 'add new', 'revoke new', 'revoke k2', 'revoke earlier'],
    },
  ],
  [
    'revokes only the new key when the add fails and the current key is rejected',
    { ...CLEANS_UP, next: MINT, addFails: [STORE_REFUSES], check: checks({ k4: REJECTED }) },
    { status: 502, result: { revoked: ['new'] } },
  ],
  [
    'cleans nothing up in a secret that was recreated',
    { ...CLEANS_UP, store: { add: inTurn(version(1)) } },
    {
      result: { outcome: 'rotated', warnings: [expect.stringContaining('was recreated')] },
      effects: ['issue', 'add new'],
    },
  ],
])('%s (%#)', async (_name, plan, expected) => {
  await check(plan, expected);
});

test('keeps a refreshed credential, and disables nothing, when the add fails', async () => {
  const { unsaved } = await check(
    { ...LEFT_OVER, addFails: [STORE_REFUSES] },
    {
      status: 503,
      result: { ...failed('CREDENTIAL_NOT_STORED', 'add'), version: '4', keyId: 'k4' },
      message: [UNTIL],
      effects: ['issue', 'add new'],
    },
  );
  expect(unsaved.get(SECRET)?.credential).toBe(NEW_KEY);
});

test("doesn't begin when too little time is left to issue a key", async () => {
  const { run, clock } = testBed();
  const { result, status, calls } = await run({ deadline: clock.monotonic() + 90 * SECOND - 1 });
  expect([status, result.error?.code, calls]).toEqual([504, 'DEADLINE_EXCEEDED', []]);
});

test.each<[string, Partial<NextKey>, string[], string[] | undefined]>([
  ['a refreshed key stays unsaved', { by: 'refresh' }, ['issue'], undefined],
  ['a minted key is revoked', MINT, ['issue', 'revoke new'], ['new']],
])(
  'is superseded by a newer version, cleans nothing up, and %s',
  async (_, next, expected, revoked) => {
    const { status, result, calls, keyFingerprint } = await bedWithNewer(CLEANS_UP, next).run();
    expect(status).toBe(200);
    expect(result).toEqual({
      secret: 'projects/p/secrets/s',
      outcome: 'superseded',
      reason: 'version 5 was added by another process during the run',
      version: '5',
      revoked,
    });
    expect(effects(calls)).toEqual(expected);
    expect(keyFingerprint).toBeUndefined();
  },
);

describe('a rejected newest key that is not due', () => {
  const OLD: Plan = { versions: [version(3), version(4)], policy: NOT_DUE };
  const MINTED: Plan = { ...OLD, next: MINT };
  const YOUNG = [version(3), version(4, 'ENABLED', NOW - 59 * MINUTE)];
  const unlisted = { listedState: inTurn<never>(STORE_REFUSES) };
  const byIssuer = () => REJECTED_BY_ISSUER;

  test.each<[string, Plan]>([
    ['the list of keys lacks it', { session: { listedState: inTurn('absent' as const) } }],
    ['the list shows it expired', { session: { listedState: inTurn('expired' as const) } }],
    [
      "the issuer's own API rejects it, whatever the list shows",
      { check: checks({ k4: REJECTED_BY_ISSUER }), session: unlisted },
    ],
  ])('of a minted secret is replaced when %s', async (_name, plan) => {
    const { result, calls, latest } = await check(
      { ...MINTED, check: checks({ k4: REJECTED }), ...plan },
      { result: { outcome: 'rotated', verified: true, disabled: ['3', '4'] } },
    );
    expect(result.reason).toBe('The issuer rejects the newest key');
    expect(calls.slice(0, 2)).toEqual(['verifyNewest k4', 'issue']);
    expect(await latest()).toBe('new');
  });

  test.each<[string, Plan, string]>([
    ['the list shows it valid', MINTED, 'cache.example.com is probably the wrong host'],
    ["the list can't be read", { ...MINTED, session: unlisted }, "couldn't be read"],
    ['it is too young', { ...MINTED, versions: YOUNG, check: byIssuer }, 'younger than an hour'],
    ['keys are refreshed', { ...OLD, check: byIssuer }, "its keys aren't minted"],
  ])('fails the run, which changes nothing, when %s', async (_name, plan, reason) => {
    const { result } = await check(
      { check: () => REJECTED, ...plan },
      {
        status: 409,
        result: { ...failed('NEWEST_KEY_REJECTED', 'verify'), verified: false },
        message: [reason, REJECTED_NOW],
        effects: [],
      },
    );
    expect(result.error?.message).toMatch(/Check that \S+\.example\.com is the right host/);
  });

  test('of a refreshed secret that is due is refreshed first', async () => {
    const plan = { check: checks({ k4: REJECTED }) };
    await check(plan, { result: { outcome: 'rotated' } });
  });

  test("doesn't hide another blocker", async () => {
    const { result } = await check(
      { ...OLD, next: error('ROLE_UNKNOWN'), check: () => REJECTED },
      { status: 422, result: failed('ROLE_UNKNOWN', 'inspect'), message: [REJECTED_NOW] },
    );
    expect(result.warnings).toEqual([expect.stringMatching(/^verify: NEWEST_KEY_REJECTED: /)]);
  });

  test('is not reported when another process adds a version', async () => {
    const bed = bedWithNewer({ ...OLD, check: checks({ k4: REJECTED_BY_ISSUER }) }, MINT);
    const { result } = await bed.run();
    expect([result.outcome, result.verified]).toEqual(['superseded', undefined]);
  });

  test('whose replacement fails is still reported as rejected', async () => {
    const next = { ...MINT, issue: inTurn<never>(error('MINT_REFUSED')) };
    const result = { ...failed('MINT_REFUSED', 'issue'), verified: false };
    await check(
      { ...OLD, next, check: byIssuer },
      { status: 502, result, message: [REJECTED_NOW] },
    );
  });
});

test('a failed disable makes the run incomplete, and the next run continues', async () => {
  const store = { disable: inTurn<boolean>(STORE_REFUSES, true) };
  const { run } = testBed({ store, policy: NOT_DUE });
  const first = await run({ force: true });
  expect(first.status).toBe(503);
  expect(first.result).toMatchObject({
    outcome: 'incomplete',
    version: '5',
    error: { code: STORE_REFUSES.code, step: 'disable' },
  });
  expect(first.result.disabled).toBeUndefined();
  const second = await run();
  expect(second.calls).toEqual(['verifyNewest new', 'disable 4']);
  expect(second.result).toMatchObject({ outcome: 'not_due', disabled: ['4'] });
});

test('warns of another configured name of the same secret, and rotates nothing', async () => {
  const { begin, calls } = testBed(CLEANS_UP);
  const asked: unknown[] = [];
  const earlierNameOf = (name: string | undefined) =>
    Promise.resolve(void asked.push(name)).then(() => 'projects/1/secrets/s');
  const { result, status } = await rotate({ ...begin(), earlierNameOf });
  expect(status).toBe(200);
  expect(result).toMatchObject({
    outcome: 'not_due',
    reason: 'the same secret as projects/1/secrets/s',
    warnings: [expect.stringContaining('this secret is configured twice')],
  });
  expect(asked).toEqual(['projects/1/secrets/s']);
  expect(calls).toEqual([]);
});

describe('a dry run', () => {
  const VERSIONS = [version(1, 'DISABLED'), version(2), version(3), version(4)];
  const EXPIRED = { 4: key('k4', NOW - 1) };
  const REVOKES = { ...NOT_DUE, revoke: true };
  const orphans = ['k1', 'k2', 'k4', 'orphan'].map((name) => ownKey(name));

  function checkDry(plan: Plan, expected: Expected) {
    const options = { dryRun: true };
    return check({ versions: VERSIONS, ...plan }, { ...expected, effects: [] }, options);
  }

  test.each<[string, Plan, object]>([
    [
      'rotate',
      { policy: { destroyAfterMs: 0 } },
      {
        reason: 'would rotate: every run rotates',
        issuedBy: 'refresh',
        ...{ disabled: ['2', '3', '4'], destroyed: ['1'], revoked: [] },
      },
    ],
    [
      'not rotate',
      { policy: REVOKES, ownKeys: orphans },
      {
        reason: 'would not rotate: due at 2026-11-10T23:00:00.000Z',
        verified: true,
        ...{ disabled: ['2', '3'], destroyed: [], revoked: ['k1', 'k2', 'orphan'] },
      },
    ],
  ])('reports that a run would %s, and changes nothing', async (_name, plan, expected) => {
    const { result } = await checkDry(plan, { result: {} });
    expect(result).toEqual({
      secret: SECRET.name,
      outcome: 'dry_run',
      version: '4',
      keyId: 'k4',
      expiresAt: '2026-11-11T00:00:00.000Z',
      ...expected,
    });
  });

  test.each<[string, Plan, object]>([
    [
      'that a first key would be minted',
      { versions: [], secret: { role: 'r' }, next: MINT },
      { reason: 'would rotate: the secret was empty', issuedBy: 'mint', disabled: [] },
    ],
    [
      "no cleanup when the newest key isn't verified",
      { policy: { ...NOT_DUE, ...ALL }, ownKeys: KEYS, check: () => INCONCLUSIVE },
      {
        ...{ disabled: [], destroyed: [], revoked: [] },
        warnings: [expect.stringMatching(/^verify: VERIFY_INCONCLUSIVE: /)],
      },
    ],
  ])('reports %s', async (_name, plan, result) => {
    await checkDry(plan, { result: { outcome: 'dry_run', ...result } });
  });

  test.each<[string, Plan, number, string]>([
    ['a missing permission', { store: LACKS('add') }, 403, 'PERMISSION_MISSING'],
    ["a key that can't be renewed", { next: BLOCKER }, 422, 'KEY_NOT_REFRESHABLE'],
    ['an expired key, which a real run would try once', { contents: EXPIRED }, 422, 'KEY_EXPIRED'],
    ['a rejected key', { policy: NOT_DUE, check: () => REJECTED }, 409, 'NEWEST_KEY_REJECTED'],
    ['a failed list', { store: { list: inTurn<never>(STORE_REFUSES) } }, 502, STORE_REFUSES.code],
  ])('fails for %s', async (_name, plan, status, code) => {
    await checkDry(plan, { status, result: { outcome: 'failed', error: { code } } });
  });

  test('reports what would be cleaned up when a rotation is blocked', async () => {
    await checkDry({ next: BLOCKER }, { status: 422, result: { disabled: ['2', '3'] } });
  });
});
