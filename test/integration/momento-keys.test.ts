/** What Momento's answers over gRPC mean for v1 keys: the SDK's real clients against the local service. */
import { status } from '@grpc/grpc-js';
import { toRotationError } from '../../src/errors';
import type { Credential } from '../../src/momento/credential';
import { MomentoKeys } from '../../src/momento/issuer';
import type { MomentoSession } from '../../src/momento/session';
import type { Renewal } from '../../src/rotation/ports';
import type { Fault } from '../emulators/faults';
import { SkippingClock } from '../skipping-clock';
import { TestBed } from './test-bed';

let services: TestBed;
let keys: MomentoKeys;
let session: MomentoSession;

beforeAll(async () => {
  services = await TestBed.start();
  keys = new MomentoKeys({ emulator: services.momento.host, clock: new SkippingClock() });
  session = keys.open(undefined);
});

afterAll(async () => {
  session.close();
  await services.stop();
});

beforeEach(() => services.reset());

const CODES = Object.keys(status).filter((name) => name !== 'OK' && isNaN(Number(name)));

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

async function renewal(current: Credential): Promise<Renewal> {
  const secret = { name: 'projects/p/secrets/s', project: 'p', id: 's', payload: 'json' } as const;
  const version = { number: 1, state: 'ENABLED', createdAt: Date.now() } as const;
  return (await session.renewal(secret, { version, credential: current })) as Renewal;
}

async function failure(current = credential()) {
  const error = toRotationError(
    await (await renewal(current)).issue().catch((thrown: unknown) => thrown),
  );
  // Trying again is the rotation's business, which knows how much time is left.
  expect(services.timesCalled('RefreshApiToken')).toBe(1);
  return error;
}

describe('a refresh', () => {
  it.each(['v1', 'legacy'] as const)('of a %s key', async (format) => {
    const old = credential(format);
    const made = await renewal(old);
    const issued = keys.parse((await made.issue()).serialize());
    expect(made).toMatchObject({ by: 'refresh', lostAnswers: Infinity });
    expect(issued.kind).toBe('v1');
    expect(services.momento.acceptsRefresh(issued.apiKey, issued.refreshToken ?? '')).toBe(true);
    expect(services.momento.accepts(old.apiKey)).toBe(true);
  });

  it('whose answer holds no credential', async () => {
    answerWith('RefreshApiToken', { kind: 'corrupt' });
    expect(await failure()).toMatchObject({
      code: 'ISSUED_CREDENTIAL_INVALID',
      mayHaveHadEffect: true,
    });
  });

  const EXPECTED: Record<string, object> = {
    RESOURCE_EXHAUSTED: { code: 'MOMENTO_LIMIT_EXCEEDED', quota: true, mayHaveHadEffect: false },
    ...Object.fromEntries(
      [
        'CANCELLED',
        'UNKNOWN',
        'DEADLINE_EXCEEDED',
        'ABORTED',
        'INTERNAL',
        'UNAVAILABLE',
        'DATA_LOSS',
      ].map((code) => [code, { code: 'MOMENTO_UNAVAILABLE', mayHaveHadEffect: true }]),
    ),
  };

  it.each(CODES)('that is answered with %s', async (code) => {
    answerWith('RefreshApiToken', code);
    const error = await failure();
    expect(error).toMatchObject(
      EXPECTED[code] ?? { code: 'REFRESH_REFUSED', refused: true, mayHaveHadEffect: false },
    );
    // What the service says could quote a key.
    expect(error.message).not.toContain('injected');
  });
});

describe('a look at a key', () => {
  const EXPECTED: Record<string, string> = {
    UNAUTHENTICATED: 'rejected',
    // Said only to those whose key was accepted.
    PERMISSION_DENIED: 'accepted',
    NOT_FOUND: 'accepted',
  };

  it.each(['v1', 'legacy'] as const)('with a %s key', async (format) => {
    expect(await session.verify(credential(format))).toBe('accepted');
  });

  it.each(CODES)('that is answered with %s', async (code) => {
    answerWith('ListCaches', code);
    expect(await session.verify(credential())).toBe(EXPECTED[code] ?? 'unclear');
    expect(services.timesCalled('ListCaches')).toBe(1);
  });

  it.each([
    ['that its payload names', { endpoint: 'cell-1.example.com' }, undefined],
    [
      'that its payload names for REST',
      { restEndpoint: 'https://api.cache.cell-1.com' },
      undefined,
    ],
    ['that is configured', {}, 'cell-1.example.com'],
  ])('with a v2 key, at the endpoint %s', async (_name, fields, endpoint) => {
    const { host: emulator } = services.momento;
    // Nobody is there: what goes to the key API gets no clear answer.
    const options = { emulator, keyApiEmulator: '127.0.0.1:1', endpoint };
    const open = new MomentoKeys({ ...options, clock: new SkippingClock() }).open(undefined);
    const claims = Buffer.from(JSON.stringify({ t: 'g', jti: 'key-1' })).toString('base64url');
    const payload = JSON.stringify({ apiKey: `e30.${claims}.c2ln`, ...fields });
    expect(await open.verify(keys.parse(Buffer.from(payload)))).toBe('rejected');
    open.close();
  });
});
