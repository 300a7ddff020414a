import { ERROR_CODES, RotationError, toRotationError, type ErrorCode } from '../../src/errors';

const PARTS = { problem: 'Something failed.', action: 'Repair it.' };
const errors = ERROR_CODES.map((code) => new RotationError(code, PARTS));

test.each(errors)('$code has a name to filter on, and an HTTP status', ({ code, status }) => {
  expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/);
  expect(status).toBeGreaterThanOrEqual(400);
  expect(status).toBeLessThan(600);
});

test('gives retryable errors a status for which Cloud Scheduler repeats the request', () => {
  for (const { status } of errors.filter(({ retryable }) => retryable)) {
    expect(status === 429 || status >= 500).toBe(true);
  }
});

test('makes refusals final, and quotas retryable', () => {
  const refusals = errors.filter(({ refused }) => refused);
  const quotas = errors.filter(({ quota }) => quota);
  expect(refusals.length * quotas.length).toBeGreaterThan(0);
  for (const { retryable } of refusals) expect(retryable).toBe(false);
  for (const { retryable, status } of quotas) expect([retryable, status]).toEqual([true, 429]);
});

test.each<[ErrorCode, number, boolean]>([
  ['INVALID_REQUEST', 400, false],
  ['SECRET_NOT_CONFIGURED', 404, false],
  ['METHOD_NOT_ALLOWED', 405, false],
  ['PERMISSION_MISSING', 403, false],
  ['VERSION_UNREADABLE', 409, false],
  ['CERTIFICATE_NOT_TRUSTED', 502, false],
  ['NEWEST_KEY_REJECTED', 409, false],
  ['SECRET_MANAGER_UNAVAILABLE', 503, true],
  ['MOMENTO_LIMIT_EXCEEDED', 429, true],
  ['CREDENTIAL_NOT_STORED', 503, true],
  ['DEADLINE_EXCEEDED', 504, true],
  ['INTERNAL', 500, false],
])('%s has status %d, retryable: %s', (code, status, retryable) => {
  expect(new RotationError(code, PARTS)).toMatchObject({
    name: 'RotationError',
    status,
    retryable,
  });
});

test('has its parts, and both of them as its message', () => {
  expect(new RotationError('INTERNAL', PARTS)).toMatchObject({
    ...PARTS,
    message: 'Something failed. Repair it.',
    outcomeUnknown: false,
    retryAfterMs: 0,
  });
  const options = { outcomeUnknown: true, retryAfterMs: 7, cause: 'c' };
  expect(new RotationError('INTERNAL', PARTS, options)).toMatchObject(options);
});

describe('toRotationError', () => {
  test('returns a RotationError unchanged', () => {
    const error = new RotationError('NO_VERSION', PARTS);
    expect(toRotationError(error)).toBe(error);
  });

  test.each([
    ['TypeError', new TypeError('planted')],
    ['string', 'planted'],
    ['undefined', undefined],
  ])('turns a foreign %s into INTERNAL without its message', (name, thrown) => {
    const error = toRotationError(thrown);
    expect(error.code).toBe('INTERNAL');
    expect(error.problem).toContain(`An unexpected ${name} stopped the run`);
    expect(error.message).not.toContain('planted');
    expect(error.cause).toBe(thrown);
  });
});
