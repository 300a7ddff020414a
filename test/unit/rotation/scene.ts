import { RotationError, type ErrorCode, type RotationErrorOptions } from '../../../src/errors';
import type { Clock } from '../../../src/retry';
import { Budget } from '../../../src/rotation/budget';
import type { RenewalPolicy } from '../../../src/rotation/decide';
import type { Found } from '../../../src/rotation/steps';
import { PendingCredentials } from '../../../src/rotation/pending';
import type {
  Credential,
  KeySession,
  KeySource,
  OwnKey,
  Renewal,
  Secret,
  SecretStore,
  Version,
} from '../../../src/rotation/ports';
import type { Report } from '../../../src/rotation/report';
import { rotate } from '../../../src/rotation/rotate';
import type { Run, RunOptions } from '../../../src/rotation/run';
import { Trail } from '../../../src/rotation/trail';
import { DAY, fakeClock, HOUR, NOW, SECOND, secretName, version } from '../support';

export const SECRET: Secret = { ...secretName('projects/p/secrets/s'), payload: 'json' };

/** The key of a version has ten days left, a new one thirty. */
export const EXPIRES_AT = NOW + 10 * DAY;
export const NEW_EXPIRES_AT = NOW + 30 * DAY;

/** Version 4, the newest in most tests, is not due with this. */
export const NOT_DUE: Partial<RenewalPolicy> = { renewBefore: { ms: HOUR } };

export const UNAVAILABLE = error('SECRET_MANAGER_UNAVAILABLE');
export const MAYBE_ADDED = error('SECRET_MANAGER_UNAVAILABLE', { mayHaveHadEffect: true });
export const QUOTA = error('SECRET_MANAGER_QUOTA_EXCEEDED');
export const STORE_REFUSES = error('SECRET_MANAGER_REFUSED');
export const LOST = error('MOMENTO_UNAVAILABLE', { mayHaveHadEffect: true });
export const REFUSED = error('REFRESH_REFUSED');

export function error(code: ErrorCode, options?: RotationErrorOptions): RotationError {
  return new RotationError(code, `test: ${code}.`, options);
}

/** A key whose id and fingerprint are its name, as is its payload. */
export function key(name: string, expiresAt = EXPIRES_AT, issuedAt?: number): Credential {
  return {
    fingerprint: name,
    keyId: name,
    expiresAt,
    ...(issuedAt !== undefined && { issuedAt }),
    serialize: () => Buffer.from(JSON.stringify({ name, expiresAt })),
  };
}

export const NEW_KEY = key('new', NEW_EXPIRES_AT);

/** A key of ours at its issuer, by default an old one. */
export function ownKey(keyId: string, age = 20 * DAY): OwnKey {
  return { keyId, issuedAt: NOW - age };
}

export interface Plan {
  /** By default 4 is the newest, and 3 was retired. */
  versions?: Version[];
  /** What versions hold; by default version n holds the key `k{n}`. */
  holds?: Record<number, Credential | string>;
  store?: Partial<SecretStore>;
  /** What the first tries to add a version end with. */
  addFails?: Error[];
  session?: Partial<KeySession>;
  renewal?: Partial<Renewal> | RotationError;
  policy?: Partial<RenewalPolicy>;
  secret?: Partial<Secret>;
}

/**
 * A secret at a store, and a source of keys, that do what real ones do unless the plan says otherwise. `calls` is what was
 * done to them and asked about keys; looks at the store are not in it.
 */
export function scene(plan: Plan = {}) {
  const clock = fakeClock();
  const versions = new Map(
    (plan.versions ?? [version(3, 'DISABLED'), version(4)]).map((each) => [each.number, each]),
  );
  const payloads = new Map<number, Uint8Array>();
  for (const number of versions.keys()) {
    const held = plan.holds?.[number] ?? key(`k${number}`);
    payloads.set(number, typeof held === 'string' ? Buffer.from(held) : held.serialize());
  }
  const calls: string[] = [];
  const store = planned(plan.store, calls, memoryStore(versions, payloads, clock, plan.addFails));
  const renewal =
    plan.renewal instanceof RotationError ? plan.renewal : plannedRenewal(plan.renewal, calls);
  const session: KeySession = planned(plan.session, calls, {
    prepare: () => undefined,
    renewal: () => Promise.resolve(renewal),
    verify: () => Promise.resolve('accepted'),
    ownKeys: () => Promise.resolve([]),
    revoke: async (_keyId, confirm) => confirm === undefined || confirm(),
    close: () => undefined,
  });
  const keys: KeySource = {
    vendor: 'The vendor',
    remedy: 'a new key from the console',
    parse: parseKey,
    open: () => session,
  };
  const policy = { gracePeriodMs: 0, verify: true, revoke: false, ...plan.policy };
  const environment = { store, keys, policy, clock };
  const pending = new PendingCredentials();
  const secret = { ...SECRET, ...plan.secret };

  /** What a step is given, at the present moment. */
  function begin(options: Partial<RunOptions> = {}): Run {
    const chosen = {
      force: false,
      dryRun: false,
      deadline: clock.now() + 525 * SECOND,
      ...options,
    };
    const budget = new Budget(clock, chosen.deadline);
    const trail = new Trail(clock);
    return { ...environment, secret, options: chosen, session, pending, budget, trail };
  }

  /** A whole run, with the calls that it made. */
  async function run(options?: Partial<RunOptions>): Promise<Report & { calls: string[] }> {
    const before = calls.length;
    const report = await rotate(begin(options));
    return { ...report, calls: calls.slice(before) };
  }

  /** What `gather` finds in this scene. */
  const newest = versions.get(4);
  const found: Found = {
    versions: [...versions.values()],
    missing: [],
    next: renewal,
    ...(newest && { newest, enabled: newest, current: { version: newest, credential: key('k4') } }),
  };

  /** The name of the key that readers of `latest` get. */
  async function latest(): Promise<string | undefined> {
    const accessed = await store.access(secret, 'latest');
    return accessed && parseKey(accessed.payload).fingerprint;
  }

  return { clock, calls, versions, payloads, pending, environment, found, begin, run, latest };
}

/** The calls that change something, or that spend something. */
export function effects(calls: readonly string[]): string[] {
  return calls.filter((call) => !call.startsWith('verify'));
}

function memoryStore(
  versions: Map<number, Version>,
  payloads: Map<number, Uint8Array>,
  clock: Clock,
  addFails: readonly Error[] = [],
): SecretStore {
  const failures = [...addFails];
  const last = () => Math.max(0, ...versions.keys());
  const set = (number: number, state: Version['state']) => {
    const changed = versions.get(number);
    if (changed !== undefined) versions.set(number, { ...changed, state });
    return Promise.resolve(changed !== undefined);
  };
  return {
    access: (_, wanted) => {
      const number = wanted === 'latest' ? last() : wanted;
      const payload = payloads.get(number);
      return Promise.resolve(
        payload && versions.get(number)?.state === 'ENABLED' ? { number, payload } : undefined,
      );
    },
    exists: (_, number) => Promise.resolve(versions.has(number)),
    list: () => Promise.resolve([...versions.values()]),
    missingPermissions: () => Promise.resolve([]),
    permissionMissing: (_, permissions) =>
      new RotationError('PERMISSION_MISSING', `test: ${permissions.join(', ')} missing.`),
    add: (_, payload) => {
      const failure = failures.shift();
      if (failure !== undefined) return Promise.reject(failure);
      const added = version(last() + 1, 'ENABLED', clock.now());
      versions.set(added.number, added);
      payloads.set(added.number, payload);
      return Promise.resolve(added);
    },
    disable: (_, { number }) => set(number, 'DISABLED'),
    destroy: (_, { number }) => set(number, 'DESTROYED'),
  };
}

function plannedRenewal(plan: Partial<Renewal> | undefined, calls: string[]): Renewal {
  return {
    by: 'refresh',
    lostAnswers: 1,
    refusal: ({ code, message }, { answerLost, now }) =>
      new RotationError(answerLost ? 'REFRESH_ANSWER_LOST' : code, `${message} Told at ${now}.`),
    ...plan,
    issue: () => {
      calls.push('issue');
      return plan?.issue?.() ?? Promise.resolve(NEW_KEY);
    },
  };
}

/** A port that does what is planned, else as by default, and notes the calls of interest: `disable 4`, `verify new`. */
function planned<T extends object>(plan: Partial<T> | undefined, calls: string[], port: T): T {
  const noted = ['add', 'disable', 'destroy', 'verify', 'revoke'];
  return Object.fromEntries(
    Object.entries({ ...port, ...plan }).map(([name, method]) => [
      name,
      (...parameters: unknown[]) => {
        const about = parameters.findLast((parameter) => typeof parameter !== 'function');
        if (noted.includes(name)) calls.push(`${name} ${subject(about)}`);
        return (method as (...parameters: unknown[]) => unknown)(...parameters);
      },
    ]),
  ) as T;
}

function subject(value: unknown): string {
  if (value instanceof Uint8Array) return parseKey(value).fingerprint;
  if (typeof value === 'object' && value !== null) {
    return 'fingerprint' in value
      ? String(value.fingerprint)
      : 'number' in value
        ? String(value.number)
        : '';
  }
  return String(value);
}

function parseKey(payload: Uint8Array): Credential {
  try {
    const { name, expiresAt } = JSON.parse(Buffer.from(payload).toString()) as {
      name: string;
      expiresAt: number | null;
    };
    return key(name, expiresAt ?? Infinity);
  } catch {
    throw error('PAYLOAD_INVALID');
  }
}
