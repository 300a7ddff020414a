/** The services that are checked, emulators or real ones, and the keys for them. */
import { reader, readServices, type Environment, type Services } from '../../src/config/variables';
import { systemClock, type Clock } from '../../src/clock';
import { Credential } from '../../src/momento/credential';
import type { KeyKind } from '../../src/momento/api-key';
import type { RateLimiterOptions } from '../../src/rate-limiter';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import { startServices, type Services as Emulators } from '../../emulators/services';

export interface Keys {
  /** A v2 key that can manage keys. */
  readonly managementKey?: Credential | undefined;
  /** A v1 super user key. */
  readonly v1Key?: Credential | undefined;
  /** A secret that doesn't exist yet. */
  readonly secret?: SecretName | undefined;
}

export interface Target extends Services, Keys {
  /** The role of the v2 keys that are minted. */
  readonly role: string;
  readonly clock: Clock;
  /** The rate of calls to the key API. The default is the function's. */
  readonly rate?: RateLimiterOptions;
  /** Asks the operator for consent. */
  readonly agree: (question: string) => Promise<boolean>;
}

const ROLE = 'r-viewer';

/** @returns the real services, undefined for the emulators, or problems that quote no value */
export function readTarget(
  env: Environment,
): Omit<Target, 'agree' | 'clock'> | undefined | string[] {
  const problems: string[] = [];
  const read = reader(env, problems);
  const keys: Keys = {
    managementKey: read(
      'CONFORMANCE_MANAGEMENT_KEY',
      (text) => parseKey(text, (kind) => kind === 'v2'),
      'a v2 key, or its JSON',
    ),
    v1Key: read(
      'CONFORMANCE_V1_KEY',
      (text) => parseKey(text, (kind) => kind !== 'v2'),
      'a v1 key, or its JSON',
    ),
    secret: read(
      'CONFORMANCE_SECRET',
      parseSecretName,
      'the full name of a secret that this tool can create, such as projects/PROJECT/secrets/SECRET',
    ),
  };
  const role = read(
    'CONFORMANCE_ROLE',
    (text) => (/^[\w.-]{1,100}$/.test(text) ? text : undefined),
    'the id of a role, such as r-viewer',
  );
  const services = readServices(read);
  if (problems.length > 0) return problems;
  if (Object.values(keys).every((value) => value === undefined)) return undefined;
  return { ...services, ...keys, role: role ?? ROLE };
}

export interface LocalTarget extends Target {
  readonly services: Emulators;
}

/** Starts the emulators. The clock skips all waits except the deadlines of calls, which have a signal. */
export async function startLocalTarget(): Promise<LocalTarget> {
  let skipped = 0;
  const clock: Clock = {
    now: () => Date.now() + skipped,
    monotonic: () => performance.now() + skipped,
    sleep: (ms, signal) => {
      if (signal !== undefined) return systemClock.sleep(ms, signal);
      skipped += ms;
      return new Promise((resolve) => setImmediate(resolve));
    },
  };
  const services = await startServices(clock);
  const secret = parseSecretName('projects/conformance/secrets/scratch');
  return {
    ...readServices(reader(services.env, [])),
    managementKey: credential(services.momento.issueV2Key({ role: 'r-operator' }).apiJson),
    v1Key: credential(services.momento.issueKey().consoleJson),
    ...(secret && { secret }),
    role: ROLE,
    clock,
    rate: { calls: 1000, windowMs: 1 },
    agree: () => Promise.resolve(true),
    services,
  };
}

function parseKey(text: string, isRight: (kind: KeyKind) => boolean): Credential | undefined {
  try {
    const key = credential(text);
    return isRight(key.kind) ? key : undefined;
  } catch {
    return undefined;
  }
}

function credential(payload: string): Credential {
  return Credential.parse(Buffer.from(payload));
}
