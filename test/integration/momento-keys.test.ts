/** Momento's answers over gRPC to the SDK's real clients. */
import { status } from '@grpc/grpc-js';
import { systemClock } from '../../src/clock';
import { toRotationError } from '../../src/errors';
import type { Credential } from '../../src/momento/credential';
import { MomentoKeys, type MomentoSession } from '../../src/momento/issuer';
import type { CallLimits, NextKey } from '../../src/rotation/ports';
import { startServices, type Services } from '../../emulators/services';

const CODES = Object.keys(status).filter((name) => name !== 'OK' && isNaN(Number(name)));

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

const limits = (): CallLimits => ({ deadline: systemClock.monotonic() + 20_000 });

function credential(format: 'v1' | 'legacy' = 'v1'): Credential {
  return keys.parse(Buffer.from(services.momento.issueKey({ format }).consoleJson));
}

async function nextKey(current: Credential): Promise<NextKey> {
  const secret = { name: 'projects/p/secrets/s', project: 'p', id: 's', payload: 'json' } as const;
  const version = { number: 1, state: 'ENABLED', createdAt: Date.now() } as const;
  return (await session.nextKey(secret, { version, credential: current })) as NextKey;
}

/** The outcome of one call for each code with which Momento can answer it. */
async function outcomes<T>(method: string, call: () => Promise<T>): Promise<Record<string, T>> {
  const { faults } = services.momento;
  const found: Record<string, T> = {};
  for (const code of CODES) {
    faults.inject(method, 'every', {
      kind: 'error',
      code: status[code as keyof typeof status],
      when: 'before',
    });
    found[code] = await call();
  }
  // The rotation repeats calls, because it knows how much time is left.
  expect(faults.calls).toHaveLength(CODES.length);
  return found;
}

/** The same outcome for all codes apart from some. */
const usually = (usual: unknown, except: Record<string, unknown>) => ({
  ...Object.fromEntries(CODES.map((code) => [code, usual])),
  ...except,
});

describe('a refresh', () => {
  it.each(['v1', 'legacy'] as const)(
    'issues a key that can be refreshed again when the old one is a %s key',
    async (format) => {
      const old = credential(format);
      const next = await nextKey(old);
      const { credential: issued, warnings } = await next.issue(limits());
      const stored = keys.parse(issued.serialize());
      expect(next).toMatchObject({ by: 'refresh', maxUnknownOutcomes: Infinity });
      expect([warnings, stored.kind]).toEqual([[], 'v1']);
      expect(services.momento.acceptsRefresh(stored.apiKey, stored.refreshToken ?? '')).toBe(true);
      expect(services.momento.accepts(old.apiKey)).toBe(true);
    },
  );

  it('fails with a code of the rotator when Momento answers with an error', async () => {
    const current = credential();
    const found = await outcomes('RefreshApiToken', async () => {
      const next = await nextKey(current);
      const error = toRotationError(await next.issue(limits()).catch((thrown: unknown) => thrown));
      // The text of the service could quote a key.
      expect(error.message).not.toContain('injected');
      return error;
    });
    const unavailable = { code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: true };
    expect(found).toMatchObject(
      usually(
        { code: 'REFRESH_REFUSED', refused: true, outcomeUnknown: false },
        {
          RESOURCE_EXHAUSTED: {
            code: 'MOMENTO_LIMIT_EXCEEDED',
            quota: true,
            outcomeUnknown: false,
          },
          CANCELLED: unavailable,
          UNKNOWN: unavailable,
          DEADLINE_EXCEEDED: unavailable,
          ABORTED: unavailable,
          INTERNAL: unavailable,
          UNAVAILABLE: unavailable,
          DATA_LOSS: unavailable,
        },
      ),
    );
  });
});

describe('a check of a key', () => {
  it('has one of three verdicts when Momento answers with an error', async () => {
    const current = credential();
    const found = await outcomes('ListCaches', () => session.verifyNew(current, limits()));
    const { host } = services.momento;
    const problem = expect.stringContaining(`${host} answered`) as string;
    expect(found).toMatchObject(
      usually(
        { verdict: 'inconclusive', problem },
        {
          UNAUTHENTICATED: { verdict: 'rejected' },
          // Momento answers with these only if it accepts the key.
          PERMISSION_DENIED: { verdict: 'accepted' },
          NOT_FOUND: { verdict: 'accepted' },
        },
      ),
    );
    expect(JSON.stringify(found)).not.toContain('injected');
  });
});
