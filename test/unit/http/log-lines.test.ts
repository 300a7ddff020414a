import { RotationError, type ErrorCode } from '../../../src/errors';
import { requestLine, rotationLine } from '../../../src/http/log-lines';
import type { Severity } from '../../../src/log';
import type { Report, RotationResult } from '../../../src/rotation/report';
import { DAY, NOW } from '../support';

const SECRET = 'projects/p/secrets/s';

function report(result: Partial<RotationResult>, changes: Partial<Report> = {}): Report {
  return {
    result: { secret: SECRET, outcome: 'rotated', ...result },
    status: 200,
    durationMs: 1200,
    steps: { gather: 700, issue: 500 },
    ...changes,
  };
}

function failed(code: ErrorCode): Partial<RotationResult> {
  return {
    outcome: 'failed',
    error: { code, step: 'add', message: 'what happened', retryable: false },
  };
}

test('the line of a run has all there is to know', () => {
  const result = {
    reason: 'every run rotates',
    version: '5',
    previousVersion: '4',
    issuedBy: 'mint',
    keyId: 'id',
    expiresAt: '2026-12-01T00:00:00.000Z',
    verified: true,
    disabled: ['4'],
  } as const;
  const told = { keyFingerprint: '0123abcd', keyAgeDays: 0, overdueDays: 1.5 };
  expect(rotationLine(report(result, told), NOW)).toEqual({
    severity: 'INFO',
    message: `rotated ${SECRET}; newest version 5; disabled 4; every run rotates`,
    event: 'rotation',
    secret: SECRET,
    outcome: 'rotated',
    ...result,
    daysLeft: 30,
    ...told,
    durationMs: 1200,
    steps: { gather: 700, issue: 500 },
  });
});

test.each<[Partial<RotationResult>, Severity, string]>([
  [
    { outcome: 'not_due', version: '4', reason: 'due later' },
    'INFO',
    `not_due ${SECRET}; newest version 4; due later`,
  ],
  [
    { disabled: ['3', '4'], destroyed: ['2'], revoked: ['id'] },
    'INFO',
    `rotated ${SECRET}; disabled 3, 4; destroyed 2; revoked id`,
  ],
  [{ disabled: [], destroyed: [], revoked: [] }, 'INFO', `rotated ${SECRET}`],
  [{ outcome: 'dry_run' }, 'INFO', `dry_run ${SECRET}`],
  [{ outcome: 'superseded', version: '6' }, 'INFO', `superseded ${SECRET}; newest version 6`],
  [{ warnings: ['look at this'] }, 'WARNING', `rotated ${SECRET}`],
  [failed('PERMISSION_MISSING'), 'ERROR', `failed ${SECRET}; PERMISSION_MISSING: what happened`],
  [
    { ...failed('VERIFY_INCONCLUSIVE'), outcome: 'incomplete' },
    'ERROR',
    `incomplete ${SECRET}; VERIFY_INCONCLUSIVE: what happened`,
  ],
  [
    failed('CREDENTIAL_NOT_STORED'),
    'CRITICAL',
    `failed ${SECRET}; CREDENTIAL_NOT_STORED: what happened`,
  ],
])('%j is %s: %s', (result, severity, message) => {
  expect(rotationLine(report(result), NOW)).toMatchObject({ severity, message });
});

test.each([
  [NOW + 10 * DAY, 10],
  [NOW + 1.26 * DAY, 1.3],
  [NOW - DAY, -1],
])('with an expiry at %d there are %d days left', (expiresAt, daysLeft) => {
  const line = rotationLine(report({ expiresAt: new Date(expiresAt).toISOString() }), NOW);
  expect(line.daysLeft).toBe(daysLeft);
});

test('what is not known is left out', () => {
  const line = rotationLine(report({}), NOW);
  for (const field of ['daysLeft', 'keyFingerprint', 'keyAgeDays', 'overdueDays', 'stack']) {
    expect(line).not.toHaveProperty(field);
  }
});

test('a fault has its stack, without what it says', () => {
  const cause = new TypeError('planted');
  const line = rotationLine(report(failed('INTERNAL'), { cause }), NOW);
  expect(line.stack).toContainEqual(expect.stringContaining('log-lines.test'));
  expect(JSON.stringify(line)).not.toContain('planted');
});

test.each<[ErrorCode, Severity]>([
  ['INVALID_REQUEST', 'WARNING'],
  ['SECRET_NOT_CONFIGURED', 'WARNING'],
  ['INTERNAL', 'ERROR'],
])('a request that ends with %s is a %s', (code, severity) => {
  const cause = new TypeError('planted');
  const line = requestLine(new RotationError(code, 'what happened', { cause }));
  expect(line).toMatchObject({
    severity,
    message: `${code}: what happened`,
    event: 'request',
    error: { code, message: 'what happened', retryable: false },
  });
  expect('stack' in line).toBe(code === 'INTERNAL');
  expect(JSON.stringify(line)).not.toContain('planted');
});
