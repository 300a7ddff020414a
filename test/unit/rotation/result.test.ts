import { NO_CLEANUP } from '../../../src/rotation/cleanup';
import type { Inspection } from '../../../src/rotation/inspect';
import type { CurrentKey, KeyCheck } from '../../../src/rotation/ports';
import type { Renewal } from '../../../src/rotation/renew';
import {
  describeImpact,
  errorReport,
  toResult,
  type RunRecord,
} from '../../../src/rotation/result';
import { failedRun } from '../../../src/rotation/rotate';
import { DAY, HOUR, NOW, version } from '../support';
import {
  ACCEPTED,
  error,
  EXPIRES_AT,
  INCONCLUSIVE,
  key,
  NEW_KEY,
  NOT_DUE,
  REJECTED,
  STORE_REFUSES,
  testBed,
  type Plan,
} from './test-bed';

const DUE = { action: 'rotate', reason: 'r' } as const;
const rotated = (credential = NEW_KEY): Renewal => ({
  kind: 'rotated',
  issued: { credential, by: 'refresh', issuedAt: 0, issuedFrom: version(4), newestAtIssue: 4 },
  version: version(5, 'ENABLED', NOW),
  check: ACCEPTED,
});

/** The result of a run with this record, an hour after it began. */
function resultOf(
  record: Partial<RunRecord>,
  renewal: Renewal = { kind: 'not_attempted' },
  plan: Plan = {},
  later = HOUR,
) {
  const { begin, inspection } = testBed(plan);
  const renewed = { renewal, warnings: [], revoked: [] };
  const found = {
    inspection,
    decision: DUE,
    renewed,
    cleanup: NO_CLEANUP,
    warnings: [],
    ...record,
  };
  return toResult(begin(), found, NOW + later, { durationMs: later, steps: {} });
}

test('a rotation is about the new key', () => {
  expect(resultOf({ check: ACCEPTED }, rotated())).toEqual({
    result: {
      secret: 'projects/p/secrets/s',
      outcome: 'rotated',
      reason: 'r',
      version: '5',
      previousVersion: '4',
      issuedBy: 'refresh',
      keyId: 'new',
      expiresAt: '2026-12-01T00:00:00.000Z',
      verified: true,
    },
    status: 200,
    keyFingerprint: 'new',
    keyAgeDays: 0,
    durationMs: HOUR,
    steps: {},
  });
});

test('a key that was not stored is not in the result: it is about the key that applications have', () => {
  const failure = error('CREDENTIAL_NOT_STORED');
  const notStored: Renewal = { kind: 'not_stored', error: failure, isCertain: false };
  const run = resultOf({}, notStored);
  expect(run).toMatchObject({ status: 503, keyAgeDays: 5 });
  expect(run.result).toMatchObject({ outcome: 'failed', version: '4', keyId: 'k4' });
  expect(run.result.error).toMatchObject({ step: 'add', retryable: true });
  expect([run.result.issuedBy, run.result.previousVersion]).toEqual([undefined, undefined]);
});

test('a key without an expiry has none', () => {
  expect(resultOf({}, rotated(key('new', Infinity))).result.expiresAt).toBeUndefined();
});

test('a run that found nothing knows nothing', () => {
  const run = testBed({ policy: NOT_DUE }).begin();
  const record = failedRun({ step: 'inspect', error: STORE_REFUSES });
  expect(toResult(run, record, NOW, { durationMs: 0, steps: {} })).toEqual({
    result: {
      secret: 'projects/p/secrets/s',
      outcome: 'failed',
      error: {
        code: 'SECRET_MANAGER_REFUSED',
        step: 'inspect',
        message:
          "Test: SECRET_MANAGER_REFUSED. It isn't known whether applications are affected. Repair the test.",
        help: 'docs/operate/error-codes.md#secret-manager-refused',
        retryable: false,
      },
    },
    status: 502,
    durationMs: 0,
    steps: {},
  });
});

test.each<[string, Plan['policy'], number, number | undefined]>([
  ['unset when every run rotates', {}, 0, undefined],
  ["0 when the renewal isn't due", NOT_DUE, 0, 0],
  ['counted from the renewal time', NOT_DUE, 11 * DAY - HOUR, 1],
  ['no longer than the version exists', { renewBefore: { minimumMs: 300 * DAY } }, 0, 5],
])('overdueDays is %s', (_name, policy, later, expected) => {
  expect(resultOf({}, undefined, { policy }, later).overdueDays).toBe(expected);
});

test('is incomplete with 503, whatever its code, when only the cleanup failed', () => {
  const cleanup = { ...NO_CLEANUP, failures: [{ step: 'disable', error: STORE_REFUSES } as const] };
  expect(resultOf({ cleanup }, rotated())).toMatchObject({
    result: { outcome: 'incomplete' },
    status: 503,
  });
});

test('reports the first failure as its error, and later ones as warnings', () => {
  const cleanup = { ...NO_CLEANUP, failures: [{ step: 'disable', error: STORE_REFUSES } as const] };
  const decision = { action: 'block', error: error('ROLE_UNKNOWN') } as const;
  const { result } = resultOf({ cleanup, decision });
  expect(result).toMatchObject({
    outcome: 'failed',
    error: { code: 'ROLE_UNKNOWN' },
    warnings: ['disable: SECRET_MANAGER_REFUSED: Test: SECRET_MANAGER_REFUSED. Repair the test.'],
  });
});

test('has each warning once, from every step', () => {
  const renewed = { renewal: rotated(), warnings: ['b', 'a'], revoked: [] };
  const cleanup = { ...NO_CLEANUP, warnings: ['c', 'b'] };
  expect(resultOf({ renewed, cleanup, warnings: ['a'] }).result.warnings).toEqual(['a', 'b', 'c']);
});

test('lists a key that the run minted and revoked among the revoked ones', () => {
  const renewal: Renewal = { kind: 'superseded', by: 5 };
  const renewed = { renewal, warnings: [], revoked: ['new'] };
  const { result } = resultOf({ renewed, cleanup: { ...NO_CLEANUP, revoke: ['k1'] } });
  expect(result.revoked).toEqual(['new', 'k1']);
});

test('counts live keys for the log', () => {
  expect(resultOf({ cleanup: { ...NO_CLEANUP, liveKeys: 7 } }).liveKeys).toBe(7);
});

test('gives the cause of an unexpected error to the log only', () => {
  const cause = new TypeError('planted');
  const run = resultOf({ failure: { step: 'inspect', error: error('INTERNAL', { cause }) } });
  expect(run).toMatchObject({ status: 500, cause });
  expect(JSON.stringify(run.result)).not.toContain('planted');
});

test('measures each step, and sums repeated ones', async () => {
  const { begin, clock } = testBed();
  const { timings } = begin();
  await timings.measure('verify', () => clock.sleep(700));
  await timings.measure('verify', () => clock.sleep(300));
  await expect(timings.measure('add', () => Promise.reject(STORE_REFUSES))).rejects.toBe(
    STORE_REFUSES,
  );
  expect(timings.steps).toEqual({ verify: 1000, add: 0 });
});

describe('describeImpact', () => {
  const { inspection } = testBed();
  const keyWith = (expiresAt: number): CurrentKey => ({
    version: version(4),
    credential: key('k4', expiresAt),
  });
  const unreadable = { unreadable: new Map([[4, 'reason']]), current: undefined };
  const recovered = { ...unreadable, current: keyWith(EXPIRES_AT), rotated: true };
  const UNKNOWN = "It isn't known whether applications are affected.";
  const UNTIL = 'Applications can use the current key until 2026-11-11T00:00:00.000Z.';
  const REJECTED_NOW = 'Applications are being rejected now';
  const EXPIRED = `${REJECTED_NOW}: the key expired at 2026-11-01T00:00:00.000Z.`;
  const FOREVER = 'Applications can use the current key, which never expires.';
  const DISABLED = 'Applications that read latest get an error.';
  const INVALID = "Applications can't use the newest version.";

  test.each<
    [
      string,
      (Partial<Inspection> & { rotated?: boolean }) | undefined,
      KeyCheck | undefined,
      string,
    ]
  >([
    ["the state isn't known", undefined, undefined, UNKNOWN],
    ['the key is accepted', {}, ACCEPTED, UNTIL],
    ['nothing is known about the key', {}, undefined, UNTIL],
    ['the answer is inconclusive', {}, INCONCLUSIVE, UNTIL],
    ['the key is rejected', {}, REJECTED, `${REJECTED_NOW}.`],
    ['the key expired', { current: keyWith(NOW) }, undefined, EXPIRED],
    ['the key never expires', { current: keyWith(Infinity) }, ACCEPTED, FOREVER],
    [
      'a secret is empty',
      { newest: undefined, current: undefined },
      undefined,
      'The secret is empty.',
    ],
    ['the newest version is disabled', { newest: version(5, 'DISABLED') }, ACCEPTED, DISABLED],
    ['the newest is unreadable', unreadable, undefined, "Applications can't read the secret."],
    ["the newest version isn't a credential", { current: undefined }, undefined, INVALID],
    [
      'a rotation replaced a disabled version',
      { newest: version(3, 'DISABLED'), rotated: true },
      ACCEPTED,
      UNTIL,
    ],
    ['a rotation replaced an unreadable version', recovered, ACCEPTED, UNTIL],
    ['a rotation filled an empty secret', { newest: undefined, rotated: true }, ACCEPTED, UNTIL],
  ])('when %s', (_name, state, check, expected) => {
    expect(describeImpact(state && { ...inspection, ...state }, check, NOW)).toBe(expected);
  });
});

test('a message has problem, impact and action, in this order', () => {
  expect(errorReport(error('INTERNAL'), 'The impact.', 'add')).toEqual({
    code: 'INTERNAL',
    step: 'add',
    message: 'Test: INTERNAL. The impact. Repair the test.',
    help: 'docs/operate/error-codes.md#internal',
    retryable: false,
  });
});

test('reports a failed cleanup plan as a warning when the run is a dry run', () => {
  const cleanup = { ...NO_CLEANUP, failures: [{ step: 'revoke' as const, error: STORE_REFUSES }] };
  const { inspection, begin } = testBed();
  const record = { ...failedRun({ step: 'add', error: STORE_REFUSES }), failure: undefined };
  const { result, status } = toResult(
    begin({ dryRun: true }),
    { ...record, inspection, decision: DUE, cleanup },
    NOW,
    { durationMs: 0, steps: {} },
  );
  expect(result).toMatchObject({
    outcome: 'dry_run',
    warnings: [expect.stringMatching(/^revoke: SECRET_MANAGER_REFUSED: /)],
  });
  expect(status).toBe(200);
});
