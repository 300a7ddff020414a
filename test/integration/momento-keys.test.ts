/** Momento's answers over gRPC to the SDK's real clients. */
import { status } from '@grpc/grpc-js';
import { systemClock } from '../../src/clock';
import { toRotationError } from '../../src/errors';
import type { Credential } from '../../src/momento/credential';
import { MomentoKeys, type MomentoSession } from '../../src/momento/issuer';
import type { CallLimits, KeyCheck, NextKey } from '../../src/rotation/ports';
import type { Fault } from '../../emulators/faults';
import { startServices, type Services } from '../../emulators/services';

let services: Services;
let keys: MomentoKeys;
let session: MomentoSession;

beforeEach(async () => {
  services = await startServices();
  keys = new MomentoKeys({ emulator: services.momento.host, clock: systemClock });
  session = keys.open(undefined);
});

afterEach(async () => {
  session.close();
  await services.stop();
});

const CODES = Object.keys(status).filter((name) => name !== 'OK' && isNaN(Number(name)));

const limits = (): CallLimits => ({ deadline: systemClock.monotonic() + 20_000 });

const timesCalled = (method: string): number =>
  services.momento.faults.calls.filter((call) => call.method === method).length;

function answerWith(method: string, fault: string | Fault): void {
  services.momento.faults.inject(
    method,
    'every',
    typeof fault === 'string'
      ? { kind: 'error', code: status[fault as keyof typeof status], when: 'before' }
      : fault,
  );
}

function credential(format: 'v1' | 'legacy' = 'v1'): Credential {
  return keys.parse(Buffer.from(services.momento.issueKey({ format }).consoleJson));
}

async function nextKey(current: Credential): Promise<NextKey> {
  const secret = { name: 'projects/p/secrets/s', project: 'p', id: 's', payload: 'json' } as const;
  const version = { number: 1, state: 'ENABLED', createdAt: Date.now() } as const;
  return (await session.nextKey(secret, { version, credential: current })) as NextKey;
}

async function failure(current = credential()) {
  const error = toRotationError(
    await (await nextKey(current)).issue(limits()).catch((thrown: unknown) => thrown),
  );
  // The rotation repeats attempts, because it knows how much time is left.
  expect(timesCalled('RefreshApiToken')).toBe(1);
  return error;
}

describe('a refresh', () => {
  it.each(['v1', 'legacy'] as const)(
    'issues a key that can be refreshed again when the old one is a %s key',
    async (format) => {
      const old = credential(format);
      const next = await nextKey(old);
      const { credential: issued, warnings } = await next.issue(limits());
      const stored = keys.parse(issued.serialize());
      expect(next).toMatchObject({ by: 'refresh', maxUnknownOutcomes: Infinity });
      expect(warnings).toEqual([]);
      expect(stored.kind).toBe('v1');
      expect(services.momento.acceptsRefresh(stored.apiKey, stored.refreshToken ?? '')).toBe(true);
      expect(services.momento.accepts(old.apiKey)).toBe(true);
    },
  );

  it('is final when its answer contains no credential', async () => {
    answerWith('RefreshApiToken', { kind: 'corrupt' });
    expect(await failure()).toMatchObject({
      code: 'ISSUED_CREDENTIAL_INVALID',
      retryable: false,
      outcomeUnknown: true,
    });
  });

  const EXPECTED: Record<string, object> = {
    RESOURCE_EXHAUSTED: { code: 'MOMENTO_LIMIT_EXCEEDED', quota: true, outcomeUnknown: false },
    ...Object.fromEntries(
      [
        'CANCELLED',
        'UNKNOWN',
        'DEADLINE_EXCEEDED',
        'ABORTED',
        'INTERNAL',
        'UNAVAILABLE',
        'DATA_LOSS',
      ].map((code) => [code, { code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: true }]),
    ),
  };

  it.each(CODES)('fails with a code of the rotator when the answer is %s', async (code) => {
    answerWith('RefreshApiToken', code);
    const error = await failure();
    expect(error).toMatchObject(
      EXPECTED[code] ?? { code: 'REFRESH_REFUSED', refused: true, outcomeUnknown: false },
    );
    // The text of the service could quote a key.
    expect(error.message).not.toContain('injected');
  });
});

describe('a check of a key', () => {
  const verify = (key: Credential): Promise<KeyCheck> => session.verifyNew(key, limits());
  const EXPECTED: Record<string, string> = {
    UNAUTHENTICATED: 'rejected',
    // Momento answers with this only if it accepts the key.
    PERMISSION_DENIED: 'accepted',
    NOT_FOUND: 'accepted',
  };

  it.each(CODES)('has one of three verdicts when the answer is %s', async (code) => {
    answerWith('ListCaches', code);
    const check = await verify(credential());
    expect(check.verdict).toBe(EXPECTED[code] ?? 'inconclusive');
    if (check.verdict === 'inconclusive') {
      expect(check.problem).toContain(`${services.momento.host} answered`);
      expect(check.problem).not.toContain('injected');
    }
    expect(timesCalled('ListCaches')).toBe(1);
  });

  it.each([
    ['that its payload names', { endpoint: 'cell-1.example.com' }, undefined],
    [
      'that its payload names for REST',
      { restEndpoint: 'https://api.cache.cell-1.com' },
      undefined,
    ],
    ['that is configured', {}, 'cell-1.example.com'],
  ])('calls the endpoint of a v2 key %s', async (_name, fields, endpoint) => {
    const { host: emulator } = services.momento;
    // Nothing answers there: a call of the key API would be inconclusive.
    const options = { emulator, keyApiEmulator: '127.0.0.1:1', endpoint };
    const other = new MomentoKeys({ ...options, clock: systemClock }).open(undefined);
    const claims = Buffer.from(JSON.stringify({ t: 'g', jti: 'key-1' })).toString('base64url');
    const payload = JSON.stringify({ apiKey: `e30.${claims}.c2ln`, ...fields });
    expect(await other.verifyNew(keys.parse(Buffer.from(payload)), limits())).toEqual({
      verdict: 'rejected',
      host: emulator,
      byIssuer: false,
    });
    other.close();
  });
});
