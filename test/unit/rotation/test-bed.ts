import { RotationError, type ErrorCode, type RotationErrorOptions } from '../../../src/errors';
import { Deadlines } from '../../../src/rotation/deadlines';
import type { Inspection } from '../../../src/rotation/inspect';
import type { RenewalPolicy } from '../../../src/rotation/policy';
import type {
  Access,
  Credential,
  KeyCheck,
  KeySession,
  KeySource,
  NextKey,
  OwnKey,
  Secret,
  SecretStore,
  Version,
} from '../../../src/rotation/ports';
import type { RunResult } from '../../../src/rotation/result';
import { rotate } from '../../../src/rotation/rotate';
import { StepTimings, type Run, type RunOptions } from '../../../src/rotation/run';
import { UnsavedCredentials } from '../../../src/rotation/unsaved';
import { DAY, HOUR, NOW, SECOND, secretName, testClock, version } from '../support';

export const SECRET: Secret = { ...secretName('projects/p/secrets/s'), payload: 'json' };

/** Keys in versions expire in ten days, new keys in thirty days. */
export const EXPIRES_AT = NOW + 10 * DAY;
const NEW_EXPIRES_AT = NOW + 30 * DAY;

/** With this policy, version 4, the newest in most tests, isn't due. */
export const NOT_DUE: Partial<RenewalPolicy> = { renewBefore: { minimumMs: HOUR } };

export const ACCEPTED: KeyCheck = { verdict: 'accepted' };
export const REJECTED: KeyCheck = {
  verdict: 'rejected',
  host: 'cache.example.com',
  byIssuer: false,
};
export const REJECTED_BY_ISSUER: KeyCheck = {
  verdict: 'rejected',
  host: 'api.example.com',
  byIssuer: true,
};
export const INCONCLUSIVE: KeyCheck = {
  verdict: 'inconclusive',
  problem: "cache.example.com couldn't be reached (ECONNREFUSED)",
};

export const UNAVAILABLE = error('SECRET_MANAGER_UNAVAILABLE');
export const MAYBE_ADDED = error('SECRET_MANAGER_UNAVAILABLE', { outcomeUnknown: true });
export const QUOTA = error('SECRET_MANAGER_QUOTA_EXCEEDED');
export const STORE_REFUSES = error('SECRET_MANAGER_REFUSED');
export const LOST = error('MOMENTO_UNAVAILABLE', { outcomeUnknown: true });
export const REFUSED = error('REFRESH_REFUSED');

export function error(code: ErrorCode, options?: RotationErrorOptions): RotationError {
  return new RotationError(
    code,
    { problem: `Test: ${code}.`, action: 'Repair the test.' },
    options,
  );
}

/** A key whose id and fingerprint are its name. */
export function key(name: string, expiresAt = EXPIRES_AT, issuedAt?: number): Credential {
  return {
    fingerprint: name,
    tokenFingerprint: `token of ${name}`,
    keyId: name,
    expiresAt,
    issuedAt,
    serialize: () => Buffer.from(JSON.stringify({ name, expiresAt, issuedAt })),
  };
}

export const NEW_KEY = key('new', NEW_EXPIRES_AT);

/** A key that the issuer minted for the secret, by default 20 days ago. */
export function ownKey(keyId: string, age = 20 * DAY): OwnKey {
  return { keyId, issuedAt: NOW - age };
}

export interface Plan {
  /** By default 4 is the newest, and 3 is disabled. */
  versions?: Version[] | undefined;
  /** The content of versions; by default version n contains the key `k{n}`. */
  contents?: Record<number, Credential | string> | undefined;
  /** Versions that are enabled and can't be read. */
  unreadable?: number[] | undefined;
  store?: Partial<SecretStore> | undefined;
  /** The errors of the first attempts to add a version. */
  addFails?: Error[] | undefined;
  session?: Partial<KeySession> | undefined;
  /** The issuer's answer about each key; by default it accepts all. */
  check?: ((keyId: string | undefined) => KeyCheck) | undefined;
  /** Ids of the keys in the newest versions of other secrets. */
  keyIdsInOtherSecrets?: ReadonlySet<string> | undefined;
  ownKeys?: OwnKey[] | undefined;
  next?: Partial<NextKey> | RotationError | undefined;
  policy?: Partial<RenewalPolicy> | undefined;
  secret?: Partial<Secret> | undefined;
}

/**
 * A store with a secret, and an issuer of keys, both in memory. The plan can replace their behavior. `calls` contains the
 * calls that change something or verify a key, but not the reads of the store.
 */
export function testBed(plan: Plan = {}) {
  const clock = testClock();
  const versions = new Map(
    (plan.versions ?? [version(3, 'DISABLED'), version(4)]).map((each) => [each.number, each]),
  );
  const payloads = new Map<number, Uint8Array>();
  for (const number of versions.keys()) {
    const content = plan.contents?.[number] ?? key(`k${number}`);
    payloads.set(number, typeof content === 'string' ? Buffer.from(content) : content.serialize());
  }
  const unreadable = new Set(plan.unreadable);
  const calls: string[] = [];
  const content: Content = { versions, payloads, unreadable, now: () => clock.now() };
  const memory = memoryStore(content, plan.addFails);
  const store = recorded(plan.store, calls, memory);
  const next = plan.next instanceof RotationError ? plan.next : plannedNext(plan.next, calls);
  const check = (credential: Credential): Promise<KeyCheck> =>
    Promise.resolve(plan.check?.(credential.keyId) ?? ACCEPTED);
  const session: KeySession = recorded(plan.session, calls, {
    prepare: () => undefined,
    nextKey: () => Promise.resolve(next),
    verifyNew: check,
    verifyNewest: check,
    verifyRejected: check,
    listedState: () => Promise.resolve('valid' as const),
    ownKeys: () => Promise.resolve({ keys: plan.ownKeys ?? [], skipped: 0, warnings: [] }),
    revoke: async (keyIds, recheck) => {
      const rechecked = await recheck(keyIds);
      calls.push(...rechecked.map((keyId) => `revoke ${keyId}`));
      return new Map(rechecked.map((keyId) => [keyId, true as const]));
    },
    close: () => undefined,
  });
  const keys: KeySource = {
    issuer: 'The issuer',
    newCredential: 'a new key from the console',
    parse: parseKey,
    open: () => session,
  };
  const policy: RenewalPolicy = { gracePeriodMs: 0, verify: true, revoke: false, ...plan.policy };
  const environment = { store, keys, policy, clock };
  const unsaved = new UnsavedCredentials();
  const secret = { ...SECRET, ...plan.secret };

  /** The context of a run that begins now. */
  function begin(options: Partial<RunOptions> = {}): Run {
    const chosen = {
      force: false,
      dryRun: false,
      deadline: clock.monotonic() + 525 * SECOND,
      ...options,
    };
    return {
      ...environment,
      secret,
      options: chosen,
      session,
      unsaved,
      deadlines: new Deadlines(clock, chosen.deadline),
      timings: new StepTimings(clock),
      earlierNameOf: () => Promise.resolve(undefined),
      keyIdsInOtherSecrets: () => Promise.resolve(plan.keyIdsInOtherSecrets ?? new Set()),
    };
  }

  /** A whole run, with the calls that it made. */
  async function run(options?: Partial<RunOptions>): Promise<RunResult & { calls: string[] }> {
    const before = calls.length;
    const result = await rotate(begin(options));
    return { ...result, calls: calls.slice(before) };
  }

  const newest = versions.get(4);
  /** The inspection of the secret. */
  const inspection: Inspection = {
    versions: [...versions.values()],
    missing: [],
    unreadable: new Map(),
    warnings: [],
    next,
    newest,
    readable: newest,
    current: newest && { version: newest, credential: key('k4') },
  };

  /** The name of the key that applications get from `latest`. */
  async function latest(): Promise<string | undefined> {
    const access = await memory.access(secret, 'latest', { deadline: Infinity });
    return access.kind === 'payload' ? parseKey(access.payload).fingerprint : undefined;
  }

  return {
    clock,
    calls,
    versions,
    payloads,
    unreadable,
    unsaved,
    secret,
    environment,
    inspection,
    begin,
    run,
    latest,
  };
}

/** The calls without verifications, which have no effects. */
export function effects(calls: readonly string[]): string[] {
  return calls.filter((call) => !call.startsWith('verify'));
}

interface Content {
  readonly versions: Map<number, Version>;
  readonly payloads: Map<number, Uint8Array>;
  readonly unreadable: Set<number>;
  readonly now: () => number;
}

function memoryStore(content: Content, addFails: readonly Error[] = []): SecretStore {
  const { versions, payloads, unreadable, now } = content;
  const canonicalName = 'projects/1/secrets/s';
  const failures = [...addFails];
  const last = (): number => Math.max(0, ...versions.keys());
  const set = (number: number, state: Version['state']): Promise<boolean> => {
    const changed = versions.get(number);
    if (changed !== undefined) versions.set(number, { ...changed, state });
    return Promise.resolve(changed !== undefined);
  };
  return {
    access: (_, wanted): Promise<Access> => {
      const number = wanted === 'latest' ? last() : wanted;
      const found = versions.get(number);
      if (found === undefined) return Promise.resolve({ kind: 'absent' });
      const payload = payloads.get(number);
      if (found.state !== 'ENABLED' || unreadable.has(number) || payload === undefined) {
        return Promise.resolve({ kind: 'not_readable', reason: 'FAILED_PRECONDITION' });
      }
      return Promise.resolve({ kind: 'payload', number, payload, canonicalName });
    },
    get: (_, number) => Promise.resolve(versions.get(number)),
    list: () => Promise.resolve({ versions: [...versions.values()], canonicalName }),
    missingPermissions: () => Promise.resolve([]),
    permissionMissing: (_, permissions) => {
      const problem = `Test: ${permissions.join(', ')} missing.`;
      return new RotationError('PERMISSION_MISSING', { problem, action: 'Grant it.' });
    },
    add: (_, payload) => {
      const failure = failures.shift();
      if (failure !== undefined) return Promise.reject(failure);
      const added = version(last() + 1, 'ENABLED', now());
      versions.set(added.number, added);
      payloads.set(added.number, payload);
      return Promise.resolve(added);
    },
    disable: (_, { number }) => set(number, 'DISABLED'),
    destroy: (_, { number }) => set(number, 'DESTROYED'),
  };
}

function plannedNext(plan: Partial<NextKey> | undefined, calls: string[]): NextKey {
  return {
    by: 'refresh',
    maxUnknownOutcomes: 1,
    refusal: ({ code, problem, action }, { answerLost, now }) => {
      const parts = { problem: `${problem} Refused at ${now}.`, action };
      return new RotationError(answerLost ? 'REFRESH_ANSWER_LOST' : code, parts);
    },
    ...plan,
    issue: (limits) => {
      calls.push('issue');
      return plan?.issue?.(limits) ?? Promise.resolve({ credential: NEW_KEY, warnings: [] });
    },
  };
}

const RECORDED: Readonly<Record<string, number>> = {
  add: 1,
  disable: 1,
  destroy: 1,
  verifyNew: 0,
  verifyNewest: 0,
  verifyRejected: 0,
};

/** A port that follows the plan, and records calls such as `disable 4` and `verifyNew new`. */
function recorded<T extends object>(plan: Partial<T> | undefined, calls: string[], port: T): T {
  return Object.fromEntries(
    Object.entries({ ...port, ...plan }).map(([name, method]) => [
      name,
      (...parameters: unknown[]) => {
        const position = RECORDED[name];
        if (position !== undefined) calls.push(`${name} ${subject(parameters[position])}`);
        return (method as (...parameters: unknown[]) => unknown)(...parameters);
      },
    ]),
  ) as T;
}

function subject(value: unknown): string {
  if (value instanceof Uint8Array) return parseKey(value).fingerprint;
  if (typeof value !== 'object' || value === null) return String(value);
  if ('fingerprint' in value) return String(value.fingerprint);
  return 'number' in value ? String(value.number) : '';
}

function parseKey(payload: Uint8Array): Credential {
  try {
    const { name, expiresAt, issuedAt } = JSON.parse(Buffer.from(payload).toString()) as {
      name: string;
      expiresAt: number | null;
      issuedAt?: number;
    };
    return key(name, expiresAt ?? Infinity, issuedAt);
  } catch {
    throw error('PAYLOAD_INVALID');
  }
}
