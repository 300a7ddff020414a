import { RotationError } from './errors';
import type { RenewalPolicy, RenewBefore } from './renewal';
import { parseSecretName, type SecretName } from './secret-name';

export interface Config {
  /** The secrets that may be rotated, and no others. */
  readonly secrets: readonly SecretName[];
  readonly policy: RenewalPolicy;
  /** Whether a key is proved with Momento before it is added, and before an older one is retired. */
  readonly verify: boolean;
  /** The function's own timeout. */
  readonly timeoutMs: number;
  /** The project in which traces are looked up. */
  readonly traceProject: string;
  /** `host:port` of a local service that stands in for the real one. */
  readonly secretManagerEmulator?: string;
  readonly momentoEmulator?: string;
}

const SECOND = 1000;
const UNITS = { s: SECOND, m: 60 * SECOND, h: 3600 * SECOND, d: 24 * 3600 * SECOND };

// A refresh can take Momento's SDK 60 s, and time must remain to store the answer. 3600 s is Cloud Run's own limit.
const MIN_TIMEOUT = 120 * SECOND;
const MAX_TIMEOUT = 3600 * SECOND;

const DURATION = 'a whole number with a unit, s, m, h or d, such as 36h or 14d';

/**
 * Reads the configuration from the environment. An empty variable counts as unset.
 *
 * @throws RotationError CONFIGURATION_INVALID, one that names every problem
 */
export function parseConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const problems: string[] = [];

  function read<T>(
    name: string,
    parse: (text: string) => T | undefined,
    expected: string,
  ): T | undefined {
    const text = env[name]?.trim();
    if (text === undefined || text === '') return undefined;
    const value = parse(text);
    if (value === undefined) problems.push(`${name} must be ${expected}`);
    return value;
  }

  const secrets = parseSecrets(env.SECRETS ?? '', problems);
  const renewBefore = read(
    'RENEW_BEFORE',
    parseRenewBefore,
    `${DURATION}, or a share from 1% to 99%`,
  );
  const gracePeriodMs = read('GRACE_PERIOD', parseDuration, `0 or ${DURATION}`) ?? 0;
  const destroyAfterMs = read('DESTROY_AFTER', parseDuration, `0 or ${DURATION}`);
  const verify = read('VERIFY', parseBoolean, 'true or false') ?? true;
  const timeoutMs =
    read(
      'TIMEOUT',
      parseTimeout,
      `${DURATION.replace('36h or 14d', '540s')}, from 120s to 3600s`,
    ) ?? 540 * SECOND;
  const traceProject = read('GOOGLE_CLOUD_PROJECT', (text) => text, '');
  const loopback = 'host:port on the loopback interface, such as localhost:8085';
  const secretManagerEmulator = read('SECRET_MANAGER_EMULATOR_HOST', parseLoopback, loopback);
  const momentoEmulator = read('MOMENTO_EMULATOR_HOST', parseLoopback, loopback);

  if (destroyAfterMs !== undefined && destroyAfterMs < gracePeriodMs) {
    problems.push(
      'DESTROY_AFTER must not be shorter than GRACE_PERIOD, which keeps a version enabled',
    );
  }
  if (problems.length > 0) {
    throw new RotationError(
      'CONFIGURATION_INVALID',
      `The function does not start; nothing is rotated until this is put right: ${problems.join('; ')}. ` +
        "Every variable is in the README's section on configuration.",
    );
  }
  return {
    secrets,
    policy: {
      gracePeriodMs,
      ...(renewBefore !== undefined && { renewBefore }),
      ...(destroyAfterMs !== undefined && { destroyAfterMs }),
    },
    verify,
    timeoutMs,
    traceProject: traceProject ?? secrets[0]?.project ?? '',
    ...(secretManagerEmulator !== undefined && { secretManagerEmulator }),
    ...(momentoEmulator !== undefined && { momentoEmulator }),
  };
}

function parseSecrets(text: string, problems: string[]): SecretName[] {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  if (names.length === 0) {
    problems.push('SECRETS must name at least one secret, as projects/PROJECT/secrets/SECRET');
  }
  // A value that is wrong is not quoted: it may be a secret that somebody put in the wrong variable.
  const secrets = names.flatMap((name, index) => {
    const secret = parseSecretName(name);
    if (secret !== undefined) return secret;
    problems.push(
      `entry ${index + 1} of SECRETS is not a full name, projects/PROJECT/secrets/SECRET or ` +
        'projects/PROJECT/locations/LOCATION/secrets/SECRET',
    );
    return [];
  });
  if (new Set(names).size < names.length) problems.push('SECRETS names a secret more than once');
  return secrets;
}

function parseRenewBefore(text: string): RenewBefore | undefined {
  const percent = /^([1-9]\d?)%$/.exec(text)?.[1];
  if (percent !== undefined) return { share: Number(percent) / 100 };
  const ms = parseDuration(text);
  return ms === undefined || ms === 0 ? undefined : { ms };
}

function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  const [, amount, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  return amount === undefined ? undefined : Number(amount) * UNITS[unit as keyof typeof UNITS];
}

function parseTimeout(text: string): number | undefined {
  const ms = parseDuration(text);
  return ms !== undefined && ms >= MIN_TIMEOUT && ms <= MAX_TIMEOUT ? ms : undefined;
}

function parseBoolean(text: string): boolean | undefined {
  return text === 'true' ? true : text === 'false' ? false : undefined;
}

function parseLoopback(text: string): string | undefined {
  const [, host = '', port] =
    /^(localhost|127(?:\.\d{1,3}){3}|\[::1\]):(\d{1,5})$/.exec(text) ?? [];
  return Number(port) > 0 && Number(port) < 65536 ? `${host}:${port ?? ''}` : undefined;
}
