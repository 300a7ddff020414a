import { defined } from '../defined';
import { DURATION, HOUR, parseDuration, SECOND } from '../duration';
import { RotationError } from '../errors';
import { ADD_RESERVE, ISSUE_RESERVE } from '../rotation/budget';
import type { RenewalPolicy, RenewBefore } from '../rotation/decide';
import type { Secret } from '../rotation/ports';
import { parseSecretName, type SecretName } from '../secret-name';
import { parseSecrets } from './secrets';
import { reader, readServices, type Environment, type Services } from './variables';

export interface Config extends Services {
  /** The secrets that may be rotated, and no others. */
  readonly secrets: readonly Secret[];
  /** The secret that holds the key by which keys are minted and revoked. */
  readonly managementKey?: SecretName;
  readonly policy: RenewalPolicy;
  /** The function's own timeout. */
  readonly timeoutMs: number;
  /** The project in which traces are looked up. */
  readonly traceProject: string;
}

// Time must remain to store what was issued. 3600 s is Cloud Run's own limit.
const MIN_TIMEOUT = ISSUE_RESERVE + ADD_RESERVE;
const MAX_TIMEOUT = HOUR;

/**
 * Reads the configuration from the environment. An empty variable counts as unset.
 *
 * @throws RotationError CONFIGURATION_INVALID, one that names every problem
 */
export function parseConfig(env: Environment): Config {
  const problems: string[] = [];
  const read = reader(env, problems);
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
    traceProject: read('GOOGLE_CLOUD_PROJECT', (text) => text, '') ?? '',
    ...readServices(read),
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
