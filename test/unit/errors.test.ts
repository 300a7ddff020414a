import { ERROR_CODES, RotationError, toRotationError, type ErrorCode } from '../../src/errors';

const CODES: Record<ErrorCode, [status: number, retryable: boolean]> = {
  INVALID_REQUEST: [400, false],
  NOT_FOUND: [404, false],
  METHOD_NOT_ALLOWED: [405, false],
  SECRET_NOT_CONFIGURED: [404, false],
  CONFIGURATION_INVALID: [500, false],
  CREDENTIALS_UNAVAILABLE: [500, false],
  PERMISSION_MISSING: [403, false],
  SECRET_NOT_FOUND: [404, false],
  NO_VERSION: [409, false],
  NO_ENABLED_VERSION: [409, false],
  PAYLOAD_INVALID: [422, false],
  PAYLOAD_CORRUPT: [502, true],
  KEY_NOT_REFRESHABLE: [422, false],
  KEY_EXPIRED: [422, false],
  REFRESH_REFUSED: [502, false],
  REFRESH_ANSWER_LOST: [502, false],
  ISSUED_CREDENTIAL_INVALID: [502, true],
  MOMENTO_UNAVAILABLE: [503, true],
  MOMENTO_LIMIT_EXCEEDED: [429, true],
  NEW_KEY_REJECTED: [502, false],
  NEWEST_KEY_REJECTED: [409, false],
  VERIFY_INCONCLUSIVE: [503, true],
  SECRET_MANAGER_UNAVAILABLE: [503, true],
  SECRET_MANAGER_QUOTA_EXCEEDED: [429, true],
  SECRET_MANAGER_REFUSED: [502, false],
  CREDENTIAL_NOT_STORED: [503, true],
  DEADLINE_EXCEEDED: [504, true],
  INTERNAL: [500, false],
};

test.each(ERROR_CODES)('%s has the status and the advice that callers rely on', (code) => {
  const error = new RotationError(code, 'what happened');
  expect([error.status, error.retryable]).toEqual(CODES[code]);
  expect(error).toMatchObject({ code, name: 'RotationError', message: 'what happened' });
});

test('no code is without a test', () => {
  expect([...ERROR_CODES].sort()).toEqual(Object.keys(CODES).sort());
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
