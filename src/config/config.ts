import { defined } from '../defined';
import { DURATION, HOUR, parseDuration, SECOND } from '../duration';
import { RotationError } from '../errors';
import { ADD_RESERVE, ISSUE_RESERVE } from '../rotation/budget';
import type { RenewalPolicy, RenewBefore } from '../rotation/decide';
import type { Secret } from '../rotation/ports';
import { parseSecretName, type SecretName } from '../secret-name';
import { parseSecrets } from './secrets';

export interface Config {
  /** The secrets that may be rotated, and no others. */
  readonly secrets: readonly Secret[];
  /** The secret that holds the key by which keys are minted and revoked. */
  readonly managementKey?: SecretName;
  readonly policy: RenewalPolicy;
  /** The function's own timeout. */
  readonly timeoutMs: number;
  /** The project in which traces are looked up. */
  readonly traceProject: string;
  readonly momento: MomentoConfig;
  /** `host:port` of a local service that stands in for Secret Manager. */
  readonly secretManagerEmulator?: string;
}

export interface MomentoConfig {
  /** The host at which v2 keys are proved whose payload names none. */
  readonly endpoint?: string;
  /** Where a v2 refresh token is spent. */
  readonly refreshPath: string;
  /** `host:port` of local services that stand in for Momento's gRPC and HTTP APIs. */
  readonly emulator?: string;
  readonly keyApiEmulator?: string;
}

// Time must remain to store what was issued. 3600 s is Cloud Run's own limit.
const MIN_TIMEOUT = ISSUE_RESERVE + ADD_RESERVE;
const MAX_TIMEOUT = HOUR;

const LOOPBACK = 'host:port on the loopback interface, such as localhost:8085';

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

  const config: Config = defined({
    secrets: parseSecrets(env.SECRETS ?? '', problems),
    managementKey: read(
      'MANAGEMENT_KEY',
      parseSecretName,
      'the full name of a secret, such as projects/PROJECT/secrets/SECRET',
    ),
    policy: defined({
      renewBefore: read('RENEW_BEFORE', parseRenewBefore, `${DURATION}, or a share from 1% to 99%`),
      gracePeriodMs: read('GRACE_PERIOD', parseDuration, `0 or ${DURATION}`) ?? 0,
      destroyAfterMs: read('DESTROY_AFTER', parseDuration, `0 or ${DURATION}`),
      verify: read('VERIFY', parseBoolean, 'true or false') ?? true,
      revoke: read('REVOKE', parseBoolean, 'true or false') ?? false,
    }),
    timeoutMs:
      read(
        'TIMEOUT',
        parseTimeout,
        `a whole number with a unit, s, m, h or d, such as 540s, from ${MIN_TIMEOUT / SECOND}s to ${MAX_TIMEOUT / SECOND}s`,
      ) ?? 540 * SECOND,
    momento: defined<MomentoConfig>({
      endpoint: read(
        'MOMENTO_ENDPOINT',
        parseHost,
        'a host without a scheme, such as cell-4-us-west-2-1.prod.a.momentohq.com',
      ),
      refreshPath:
        read('MOMENTO_REFRESH_PATH', parsePath, 'a path such as /api-keys/refresh') ??
        '/api-keys/refresh',
      emulator: read('MOMENTO_EMULATOR_HOST', parseLoopback, LOOPBACK),
      keyApiEmulator: read('MOMENTO_KEY_API_EMULATOR_HOST', parseLoopback, LOOPBACK),
    }),
    traceProject: read('GOOGLE_CLOUD_PROJECT', (text) => text, '') ?? '',
    secretManagerEmulator: read('SECRET_MANAGER_EMULATOR_HOST', parseLoopback, LOOPBACK),
  });
  problems.push(...contradictions(config));
  if (problems.length > 0) {
    throw new RotationError(
      'CONFIGURATION_INVALID',
      `The function does not start; nothing is rotated until this is put right: ${problems.join('; ')}. ` +
        "Every variable is in the README's section on configuration.",
    );
  }
  return { ...config, traceProject: config.traceProject || (config.secrets[0]?.project ?? '') };
}

/** What each variable may be alone, and not together. */
function contradictions({ policy, managementKey, momento }: Config): string[] {
  const { gracePeriodMs, destroyAfterMs, revoke, verify } = policy;
  const problems: string[] = [];
  if (destroyAfterMs !== undefined && destroyAfterMs < gracePeriodMs) {
    problems.push(
      'DESTROY_AFTER must not be shorter than GRACE_PERIOD, which keeps a version enabled',
    );
  }
  if (revoke && managementKey === undefined) {
    problems.push('REVOKE needs MANAGEMENT_KEY, the key by which keys are revoked');
  }
  if (revoke && !verify) {
    problems.push('REVOKE needs VERIFY: a key is ended only when the newest one is proved');
  }
  if (revoke && gracePeriodMs < HOUR && momento.keyApiEmulator === undefined) {
    problems.push(
      'REVOKE needs a GRACE_PERIOD of at least 1h: that is how long readers may go on with a key before it ends',
    );
  }
  return problems;
}

function parseRenewBefore(text: string): RenewBefore | undefined {
  const percent = /^([1-9]\d?)%$/.exec(text)?.[1];
  if (percent !== undefined) return { share: Number(percent) / 100 };
  const ms = parseDuration(text);
  return ms === undefined || ms === 0 ? undefined : { ms };
}

function parseTimeout(text: string): number | undefined {
  const ms = parseDuration(text);
  return ms !== undefined && ms >= MIN_TIMEOUT && ms <= MAX_TIMEOUT ? ms : undefined;
}

function parseBoolean(text: string): boolean | undefined {
  return text === 'true' ? true : text === 'false' ? false : undefined;
}

function parseHost(text: string): string | undefined {
  return /^(?=.{1,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$/i.test(text) ? text : undefined;
}

function parsePath(text: string): string | undefined {
  return /^(\/[\w.~-]+)+$/.test(text) ? text : undefined;
}

function parseLoopback(text: string): string | undefined {
  const [, host = '', port] =
    /^(localhost|127(?:\.\d{1,3}){3}|\[::1\]):(\d{1,5})$/.exec(text) ?? [];
  return Number(port) > 0 && Number(port) < 65536 ? `${host}:${port ?? ''}` : undefined;
}
