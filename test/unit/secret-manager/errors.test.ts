import { status } from '@grpc/grpc-js';
import { RotationError } from '../../../src/errors';
import {
  credentialsUnavailable,
  NO_ANSWER,
  permissionMissing,
  toStoreError,
  VIEWER,
  type FailedCall,
} from '../../../src/secret-manager/errors';

const HOST = 'secretmanager.googleapis.com';
const SECRET = { name: 'projects/p/secrets/s', project: 'p', id: 's' };
const CALL: FailedCall = { secret: SECRET, host: HOST, permission: 'add' };
const PROXIED: FailedCall = { ...CALL, proxy: 'proxy:3128' };

/** An error as the client gives it. */
function failure(code: status, details: string): Error {
  return Object.assign(new Error(`${code} ${status[code]}: ${details}`), { code, details });
}

// The texts are those of grpc-js 1.13.5.
describe('a call that was never sent', () => {
  const LAST = 'No connection established. Last error:';
  const NO_NAME = 'Name resolution failed for target dns';

  test.each([
    [`${LAST} Error: connect ECONNREFUSED 127.0.0.1:1`, 'ECONNREFUSED'],
    [`${LAST} read ECONNRESET (2026-11-29T00:54:46.906Z)`, 'ECONNRESET'],
    [`${NO_NAME}:secretmanager.googleapis.com:443`, 'ENOTFOUND'],
    [`${LAST} Protocol error (2026-11-29T00:54:45Z)`, 'no connection'],
    [`${LAST} undefined`, 'no connection'],
  ])('%s', (details, cause) => {
    const error = toStoreError(failure(status.UNAVAILABLE, details), CALL);
    expect(error).toMatchObject({
      code: 'SECRET_MANAGER_UNAVAILABLE',
      problem: `Secret Manager (${HOST}) couldn't be reached (${cause}).`,
      action: `Check that the function can reach ${HOST}.`,
      outcomeUnknown: false,
    });
  });

  test.each([
    [`${LAST} Error: connect ECONNREFUSED 1.2.3.4:1`, 'ECONNREFUSED'],
    [`${NO_NAME}:proxy:3128`, 'ENOTFOUND'],
    [`${LAST} undefined`, 'no connection'],
  ])('names the proxy when grpc-js reports: %s', (details, cause) => {
    expect(toStoreError(failure(status.UNAVAILABLE, details), PROXIED)).toMatchObject({
      problem: `Secret Manager (${HOST}) couldn't be reached through the proxy proxy:3128 (${cause}).`,
      action: `Check that the function can reach the proxy proxy:3128, and that it admits ${HOST}.`,
    });
  });

  test.each([
    ['Error: self-signed certificate; if the root CA is', 'it or its authority is self-signed'],
    ['Error: self-signed certificate in certificate chain', 'it or its authority is self-signed'],
    ['Error: unable to verify the first certificate', 'its authority is unknown'],
    ['Error: unable to get local issuer certificate', 'its authority is unknown'],
    ['Error: certificate has expired', 'it has expired'],
    ['Error: certificate is not yet valid', "it isn't valid yet"],
    [
      "Error [ERR_TLS_CERT_ALTNAME_INVALID]: Hostname/IP does not match certificate's altnames: Host: x",
      "it doesn't name this host",
    ],
  ])('because the certificate is not trusted: %s', (text, words) => {
    const details = `${LAST} ${text}`;
    expect(toStoreError(failure(status.UNAVAILABLE, details), CALL)).toMatchObject({
      code: 'CERTIFICATE_NOT_TRUSTED',
      problem: `The TLS certificate of ${HOST} isn't trusted: ${words}.`,
      retryable: false,
      outcomeUnknown: false,
    });
  });
});

describe('a call whose outcome is unknown', () => {
  const DEADLINE = status.DEADLINE_EXCEEDED;
  const LATE = 'Deadline exceeded after 10.002s';

  test.each([
    [status.UNAVAILABLE, 'self-signed certificate', 'answered UNAVAILABLE'],
    [status.UNAVAILABLE, 'Received HTTP status code 503', 'answered with HTTP status 503'],
    [status.UNAVAILABLE, 'Connection dropped', 'lost the connection before its answer'],
    [status.UNAVAILABLE, 'read ECONNRESET', 'lost the connection before its answer'],
    [DEADLINE, `${LATE},LB pick: 0.001s`, "didn't answer in time"],
    [
      DEADLINE,
      `${LATE},name resolution: 0.001s,Waiting for LB pick`,
      "couldn't be reached (no connection in time)",
    ],
    [status.DEADLINE_EXCEEDED, 'The request timed out.', 'answered DEADLINE_EXCEEDED'],
    [status.INTERNAL, 'Response message parsing error: QWxhZGRpbg', 'answered INTERNAL'],
  ])('%s %s', (code, details, words) => {
    expect(toStoreError(failure(code, details), CALL)).toMatchObject({
      code: 'SECRET_MANAGER_UNAVAILABLE',
      problem: `Secret Manager (${HOST}) ${words}.`,
      outcomeUnknown: true,
    });
  });

  test('is one whose answer exceeded a limit of the client', () => {
    const local = failure(status.RESOURCE_EXHAUSTED, 'Received message larger than max');
    expect(toStoreError(local, CALL)).toMatchObject({ quota: true, outcomeUnknown: true });
  });
});

test.each([
  ['CANCELLED', 'SECRET_MANAGER_UNAVAILABLE'],
  ['UNKNOWN', 'SECRET_MANAGER_UNAVAILABLE'],
  ['INVALID_ARGUMENT', 'SECRET_MANAGER_REFUSED'],
  ['DEADLINE_EXCEEDED', 'SECRET_MANAGER_UNAVAILABLE'],
  ['NOT_FOUND', 'SECRET_NOT_FOUND'],
  ['ALREADY_EXISTS', 'SECRET_MANAGER_REFUSED'],
  ['PERMISSION_DENIED', 'PERMISSION_MISSING'],
  ['RESOURCE_EXHAUSTED', 'SECRET_MANAGER_QUOTA_EXCEEDED'],
  ['FAILED_PRECONDITION', 'SECRET_MANAGER_REFUSED'],
  ['ABORTED', 'SECRET_MANAGER_UNAVAILABLE'],
  ['OUT_OF_RANGE', 'SECRET_MANAGER_REFUSED'],
  ['UNIMPLEMENTED', 'SECRET_MANAGER_REFUSED'],
  ['INTERNAL', 'SECRET_MANAGER_UNAVAILABLE'],
  ['UNAVAILABLE', 'SECRET_MANAGER_UNAVAILABLE'],
  ['DATA_LOSS', 'SECRET_MANAGER_UNAVAILABLE'],
  ['UNAUTHENTICATED', 'CREDENTIALS_UNAVAILABLE'],
] as const)('a call that is answered with %s fails with %s', (name, code) => {
  const error = toStoreError(failure(status[name], 'QWxhZGRpbg'), CALL);
  expect(error.code).toBe(code);
  // The text of the service could quote a payload.
  expect(error.message).not.toContain('QWxhZGRpbg');
});

test.each([
  ['SERVICE_DISABLED', 'Enable secretmanager.googleapis.com in projects/123456789012'],
  ['BILLING_DISABLED', 'Enable billing for projects/123456789012'],
  ['CONSUMER_INVALID', 'Check that projects/123456789012 exists'],
  ['CONSUMER_SUSPENDED', 'Ask Google Cloud support why projects/123456789012'],
  ['SECURITY_POLICY_VIOLATED', 'VPC Service Controls around projects/123456789012'],
  ['ACCESS_TOKEN_SCOPE_INSUFFICIENT', 'https://www.googleapis.com/auth/cloud-platform'],
  ['USER_PROJECT_DENIED', 'roles/serviceusage.serviceUsageConsumer'],
])('a call that Google refuses because of %s has an action', (reason, action) => {
  const errorInfoMetadata = { consumer: 'projects/123456789012' };
  const refusal = failure(status.PERMISSION_DENIED, '');
  const error = toStoreError(Object.assign(refusal, { reason, errorInfoMetadata }), CALL);
  expect(error).toMatchObject({
    code: 'SECRET_MANAGER_REFUSED',
    action: expect.stringContaining(action) as string,
  });
});

test('keeps an error of the rotator, and reports any other as a fault', () => {
  const own = new RotationError('PAYLOAD_CORRUPT', { problem: 'p', action: 'a' });
  expect(toStoreError(own, CALL)).toBe(own);
  expect(toStoreError(new TypeError('x'), CALL).code).toBe('INTERNAL');
});

describe('missing credentials', () => {
  const url = new URL('https://sts.example.com/token');
  const at = (url: URL, message: string) => Object.assign(new Error(message), { config: { url } });
  const unauthenticated = (problem: string): object => ({
    code: 'CREDENTIALS_UNAVAILABLE',
    problem: `The function got no Google Cloud credentials${problem}. Secret Manager wasn't called.`,
    retryable: false,
  });

  test.each([
    [new Error(NO_ANSWER), ': there was no answer in time'],
    [new Error('Could not load the default credentials. Browse'), ': none are configured'],
    [
      new Error(
        'Unable to read the credential file specified by the GOOGLE_APPLICATION_CREDENTIALS',
      ),
      ": the file in GOOGLE_APPLICATION_CREDENTIALS can't be read",
    ],
    [
      at(url, 'reason: getaddrinfo ENOTFOUND sts.example.com'),
      ": sts.example.com couldn't be reached (ENOTFOUND)",
    ],
    [
      at(url, 'reason: connect ECONNREFUSED 1.2.3.4:443'),
      ": sts.example.com couldn't be reached (ECONNREFUSED)",
    ],
    [
      Object.assign(at(url, 'QWxhZGRpbg'), { status: 400 }),
      ': sts.example.com answered with HTTP status 400',
    ],
    ['QWxhZGRpbg', ''],
  ])('%s', (error, problem) => {
    expect(credentialsUnavailable(error)).toMatchObject(unauthenticated(problem));
  });

  test('name the endpoint whose certificate is not trusted', () => {
    expect(credentialsUnavailable(at(url, 'reason: self-signed certificate'))).toMatchObject({
      code: 'CERTIFICATE_NOT_TRUSTED',
      problem: expect.stringContaining('sts.example.com') as string,
    });
  });
});

test('names the smallest role for reading', () => {
  expect(permissionMissing(SECRET, ['list']).action).toContain(VIEWER);
  expect(permissionMissing(SECRET, ['list', 'add']).action).not.toContain(VIEWER);
  expect(permissionMissing(SECRET, ['access', 'add'])).toMatchObject({
    problem:
      "The function's service account lacks secretmanager.versions.access, secretmanager.versions.add on projects/p/secrets/s, or the secret doesn't exist.",
  });
});
