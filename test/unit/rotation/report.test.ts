import { report } from '../../../src/rotation/report';
import type { Outputs } from '../../../src/rotation/steps';
import { DAY, HOUR, NOW, version } from '../support';
import { error, key, NEW_KEY, NOT_DUE, scene, STORE_REFUSES, type Plan } from './scene';

const ISSUED = {
  credential: NEW_KEY,
  by: 'refresh',
  issuedAt: NOW,
  issuedFrom: 4,
  newest: 4,
} as const;
const DUE = { action: 'rotate', reason: 'r' } as const;
const ADDED = version(5, 'ENABLED', NOW);

/** The report on a run whose steps gave this, an hour after it began. */
async function reportOn(outputs: Outputs, plan: Plan = {}) {
  const { begin, found, clock } = scene(plan);
  const run = begin();
  Object.assign(run.trail.outputs, { gather: found }, outputs);
  await clock.sleep(HOUR);
  return { run, of: () => report(run) };
}

test('of a rotation is about the new key', async () => {
  const { of } = await reportOn({ decide: DUE, issue: ISSUED, verify: 'accepted', add: ADDED });
  expect(of()).toEqual({
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

test('of a run that did not store what it issued is about the key that readers have', async () => {
  const { of, run } = await reportOn({ decide: DUE, issue: ISSUED, verify: 'accepted' });
  run.trail.fail(error('CREDENTIAL_NOT_STORED'), 'failed', 'add');
  expect(of()).toMatchObject({
    result: {
      outcome: 'failed',
      version: '4',
      keyId: 'k4',
      error: { step: 'add', retryable: true },
    },
    status: 503,
    keyAgeDays: 5,
  });
  expect(of().result).not.toHaveProperty('issuedBy');
  expect(of().result).not.toHaveProperty('previousVersion');
});

test('of a key without an expiry has none', async () => {
  const { of } = await reportOn({
    decide: DUE,
    add: ADDED,
    issue: { ...ISSUED, credential: key('new', Infinity) },
  });
  expect(of().result).not.toHaveProperty('expiresAt');
});

test.each([
  ['renewed in every run', undefined, 0, undefined],
  ['not due', { ms: HOUR }, 0, 0],
  ['due for a while', { ms: HOUR }, 11 * DAY - 2 * HOUR, 1],
  // It has been overdue since there was its version, and no longer.
  ['due before there was its version', { ms: 300 * DAY }, 0, 5],
])('says how long a key is overdue that is %s', async (_name, renewBefore, later, overdueDays) => {
  const { run } = await reportOn({}, { policy: renewBefore ? { renewBefore } : {} });
  await run.clock.sleep(later);
  expect(report(run).overdueDays).toBe(overdueDays);
});

test('of a run that found nothing knows of no key, age or version', () => {
  const { begin } = scene({ policy: NOT_DUE });
  const run = begin();
  run.trail.fail(STORE_REFUSES);
  expect(report(run)).toEqual({
    result: {
      secret: 'projects/p/secrets/s',
      outcome: 'failed',
      error: {
        code: 'SECRET_MANAGER_REFUSED',
        step: 'gather',
        message: STORE_REFUSES.message,
        retryable: false,
      },
    },
    status: 502,
    durationMs: 0,
    steps: {},
  });
});

describe('the outcome', () => {
  test('incomplete asks for a repeat, whatever is the matter', async () => {
    const { of, run } = await reportOn({ decide: DUE, issue: ISSUED, add: ADDED });
    run.trail.fail(STORE_REFUSES, 'incomplete', 'retire');
    expect(of()).toMatchObject({ result: { outcome: 'incomplete' }, status: 503 });
  });

  test('the first failure is the result, and what follows from it a warning', async () => {
    const { of, run } = await reportOn({});
    run.trail.fail(error('ROLE_UNKNOWN'));
    run.trail.fail(STORE_REFUSES, 'incomplete', 'retire');
    expect(of().result).toMatchObject({
      outcome: 'failed',
      error: { code: 'ROLE_UNKNOWN' },
      warnings: [`retire: SECRET_MANAGER_REFUSED: ${STORE_REFUSES.message}`],
    });
  });

  test('a fault has its cause for the log, and for nobody else', async () => {
    const { of, run } = await reportOn({});
    const cause = new TypeError('planted');
    run.trail.fail(cause);
    expect(of()).toMatchObject({ status: 500, cause });
    expect(JSON.stringify(of().result)).not.toContain('planted');
  });

  test('a key that the run minted in vain is among those that it revoked', async () => {
    const { of, run } = await reportOn({ decide: DUE, revoke: ['k1'] });
    run.trail.discarded.push('new');
    expect(of().result.revoked).toEqual(['new', 'k1']);
  });
});

test('steps are timed, and a step that is gone through twice has both times', async () => {
  const { run } = await reportOn({});
  const takes = (ms: number) => () => run.clock.sleep(ms).then(() => 'accepted' as const);
  await run.trail.step('verify', takes(700));
  await run.trail.step('verify', takes(300));
  await expect(run.trail.step('add', () => Promise.reject(STORE_REFUSES))).rejects.toBe(
    STORE_REFUSES,
  );
  expect(report(run).steps).toEqual({ verify: 1000, add: 0 });
});
