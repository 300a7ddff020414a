import { RotationError, type ErrorCode } from '../../../src/errors';
import { requestLine, rotationLine, statusLine } from '../../../src/http/log-lines';
import type { Severity } from '../../../src/log';
import type { RotationResult, RunResult } from '../../../src/rotation/result';
import { DAY, NOW } from '../support';

const HTTP = { trigger: 'http' } as const;

const SECRET = 'projects/p/secrets/s';

function runWith(result: Partial<RotationResult>, changes: Partial<RunResult> = {}): RunResult {
  return {
    result: { secret: SECRET, outcome: 'rotated', ...result },
    status: 200,
    durationMs: 1200,
    steps: { inspect: 700, issue: 500 },
    ...changes,
  };
}

function failed(code: ErrorCode): Partial<RotationResult> {
  return {
    outcome: 'failed',
    error: { code, step: 'add', message: 'what happened', help: 'a path', retryable: false },
  };
}

test('the line of a run has its result and what only the log gets', () => {
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
  const more = { keyFingerprint: '0123abcd', keyAgeDays: 0, overdueDays: 1.5, liveKeys: 3 };
  expect(rotationLine(runWith(result, more), NOW, HTTP)).toEqual({
    severity: 'INFO',
    message: `rotated ${SECRET}; newest version 5; disabled 4; every run rotates`,
    event: 'rotation',
    trigger: 'http',
    secret: SECRET,
    outcome: 'rotated',
    ...result,
    daysLeft: 30,
    ...more,
    durationMs: 1200,
    steps: { inspect: 700, issue: 500 },
  });
});

test.each<[Partial<RotationResult>, Severity, string]>([
  [{ outcome: 'not_due', version: '4', reason: 'r' }, 'INFO', 'not_due S; newest version 4; r'],
  [
    { disabled: ['3', '4'], destroyed: ['2'], revoked: ['id'] },
    'INFO',
    'rotated S; disabled 3, 4; destroyed 2; revoked id',
  ],
  [{ disabled: [], destroyed: [], revoked: [] }, 'INFO', 'rotated S'],
  [{ outcome: 'dry_run' }, 'INFO', 'dry_run S'],
  [{ outcome: 'superseded', version: '6' }, 'INFO', 'superseded S; newest version 6'],
  [{ warnings: ['look at this'] }, 'WARNING', 'rotated S'],
  [failed('PERMISSION_MISSING'), 'ERROR', 'failed S; PERMISSION_MISSING: what happened'],
  [
    { ...failed('VERIFY_INCONCLUSIVE'), outcome: 'incomplete' },
    'ERROR',
    'incomplete S; VERIFY_INCONCLUSIVE: what happened',
  ],
  [failed('CREDENTIAL_NOT_STORED'), 'CRITICAL', 'failed S; CREDENTIAL_NOT_STORED: what happened'],
])('the line of %j has severity %s and message %s', (result, severity, message) => {
  const line = rotationLine(runWith(result), NOW, HTTP);
  expect(line).toMatchObject({ severity, message: message.replace('S', SECRET) });
});

test.each([
  [NOW + 10 * DAY, 10],
  [NOW + 1.26 * DAY, 1.3],
  [NOW - DAY, -1],
])('counts the days left until an expiry at %d: %d', (expiresAt, daysLeft) => {
  const line = rotationLine(runWith({ expiresAt: new Date(expiresAt).toISOString() }), NOW, HTTP);
  expect(line.daysLeft).toBe(daysLeft);
});

test('leaves unknown fields out', () => {
  const written = JSON.parse(JSON.stringify(rotationLine(runWith({}), NOW, HTTP))) as object;
  expect(Object.keys(written).toSorted()).toEqual([
    ...['durationMs', 'event', 'message', 'outcome', 'secret', 'severity', 'steps', 'trigger'],
  ]);
});

test('has the stack of an unexpected error, without its message', () => {
  const cause = new TypeError('planted');
  const line = rotationLine(runWith(failed('INTERNAL'), { cause }), NOW, HTTP);
  expect(line.stack).toContainEqual(expect.stringContaining('log-lines.test'));
  expect(JSON.stringify(line)).not.toContain('planted');
});

test.each<[ErrorCode, Severity]>([
  ['INVALID_REQUEST', 'WARNING'],
  ['SECRET_NOT_CONFIGURED', 'WARNING'],
  ['INTERNAL', 'ERROR'],
])('the line of a request that ends with %s has severity %s', (code, severity) => {
  const cause = new TypeError('planted');
  const line = requestLine(
    new RotationError(code, { problem: 'What happened.', action: 'Repair it.' }, { cause }),
    HTTP,
  );
  expect(line).toMatchObject({
    severity,
    message: `${code}: What happened. Repair it.`,
    event: 'request',
    error: { code, message: 'What happened. Repair it.', retryable: false },
  });
  expect('stack' in line).toBe(code === 'INTERNAL');
  expect(JSON.stringify(line)).not.toContain('planted');
});

test.each([
  [undefined, 'INFO', 'status projects/p/secrets/s; newest version 3; next renewal next run'],
  [
    new RotationError('KEY_EXPIRED', { problem: 'The key has expired.', action: 'Store a key.' }),
    'ERROR',
    'status projects/p/secrets/s',
  ],
  [new RotationError('INTERNAL', { problem: 'A fault.', action: 'Report it.' }), 'ERROR', 'status'],
])('the line of a status report has severity and message when its error is %s', (...expected) => {
  const [error, severity, message] = expected;
  const known = { version: '3', nextRenewal: 'next run' };
  const status = { secret: 'projects/p/secrets/s', ...(error === undefined && known) };
  const line = statusLine({ status, httpStatus: error?.status ?? 200, error }, HTTP);
  expect(line).toMatchObject({ severity, event: 'status', trigger: 'http' });
  expect(line.message).toContain(message);
  expect('stack' in line).toBe(error?.code === 'INTERNAL');
});
