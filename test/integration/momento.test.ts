import { status } from '@grpc/grpc-js';
import { Credential } from '../../src/credential';
import { toRotationError } from '../../src/errors';
import { RefreshIssuer } from '../../src/momento';
import { LocalServices } from './support';

let services: LocalServices;
let issuer: RefreshIssuer;

beforeAll(async () => {
  services = await LocalServices.start();
  issuer = new RefreshIssuer(services.momento.host);
});

afterAll(() => services.stop());

beforeEach(() => services.reset());

const CODES = Object.keys(status).filter((name) => name !== 'OK' && isNaN(Number(name)));

function answerWith(method: string, code: string): void {
  services.momento.faults.inject(method, 'every', {
    kind: 'error',
    code: status[code as keyof typeof status],
    when: 'before',
  });
}

function credential(): Credential {
  return Credential.parse(Buffer.from(services.momento.issueKey().consoleJson));
}

describe('what Momento answers to a refresh', () => {
  const EXPECTED: Record<string, string> = {
    RESOURCE_EXHAUSTED: 'MOMENTO_LIMIT_EXCEEDED',
    ...Object.fromEntries(
      [
        'CANCELLED',
        'UNKNOWN',
        'DEADLINE_EXCEEDED',
        'ABORTED',
        'INTERNAL',
        'UNAVAILABLE',
        'DATA_LOSS',
      ].map((code) => [code, 'MOMENTO_UNAVAILABLE']),
    ),
  };

  it.each(CODES)('%s', async (code) => {
    answerWith('RefreshApiToken', code);
    const thrown: unknown = await issuer.issue(credential()).catch((error: unknown) => error);
    const expected = EXPECTED[code] ?? 'REFRESH_REFUSED';
    const error = toRotationError(thrown);
    expect(error.code).toBe(expected);
    // What the service says could quote a key.
    expect(error.message).not.toContain('injected');
    // Trying again is the rotation's business, which knows how much time is left.
    expect(services.timesCalled('RefreshApiToken')).toBe(1);
  });
});

describe('what Momento answers to a key', () => {
  const EXPECTED: Record<string, string> = {
    UNAUTHENTICATED: 'rejected',
    // Said only to those whose key was accepted.
    PERMISSION_DENIED: 'accepted',
    NOT_FOUND: 'accepted',
  };

  it.each(CODES)('%s', async (code) => {
    answerWith('ListCaches', code);
    expect(await issuer.verify(credential())).toBe(EXPECTED[code] ?? 'unclear');
    expect(services.timesCalled('ListCaches')).toBe(1);
  });
});
