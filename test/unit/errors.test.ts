import { ERROR_CODES, RotationError, toRotationError, type ErrorCode } from '../../src/errors';

const errors = ERROR_CODES.map((code) => new RotationError(code, 'what happened'));

test.each(errors)('$code is a name to filter on, with a status of HTTP', ({ code, status }) => {
  expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/);
  expect(status).toBeGreaterThanOrEqual(400);
  expect(status).toBeLessThan(600);
});

test('Cloud Scheduler repeats what may pass by itself: such errors have a status of the server, or 429', () => {
  for (const { status } of errors.filter(({ retryable }) => retryable)) {
    expect(status === 429 || status >= 500).toBe(true);
  }
});

test('a refusal is final, and a quota passes with time', () => {
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
  ['SECRET_MANAGER_UNAVAILABLE', 503, true],
  ['MOMENTO_LIMIT_EXCEEDED', 429, true],
  ['CREDENTIAL_NOT_STORED', 503, true],
  ['DEADLINE_EXCEEDED', 504, true],
  ['INTERNAL', 500, false],
])('%s answers %d, retryable: %s', (code, status, retryable) => {
  expect(new RotationError(code, '')).toMatchObject({ name: 'RotationError', status, retryable });
});

test('an error had no effect and asks for no wait, unless it says so', () => {
  expect(new RotationError('INTERNAL', '')).toMatchObject({
    mayHaveHadEffect: false,
    retryAfterMs: 0,
  });
  const told = { mayHaveHadEffect: true, retryAfterMs: 7, cause: 'c' };
  expect(new RotationError('INTERNAL', '', told)).toMatchObject(told);
});

describe('toRotationError', () => {
  test('leaves a RotationError as it is', () => {
    const error = new RotationError('NO_VERSION', 'no version');
    expect(toRotationError(error)).toBe(error);
  });

  test.each([
    ['TypeError', new TypeError('planted')],
    ['string', 'planted'],
    ['undefined', undefined],
  ])('makes a foreign %s INTERNAL, and keeps its message to itself', (name, thrown) => {
    const error = toRotationError(thrown);
    expect(error.code).toBe('INTERNAL');
    expect(error.message).toContain(`An unexpected ${name} stopped the run`);
    expect(error.message).not.toContain('planted');
    expect(error.cause).toBe(thrown);
  });
});
