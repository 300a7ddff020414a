import { DURATION, HOUR, parseDuration, SECOND } from '../duration';
import { RotationError } from '../errors';
import { proxyProblem } from '../proxy';
import { TIME_TO_ADD, TIME_TO_ISSUE_AND_ADD } from '../rotation/deadlines';
import type { RenewalPolicy, RenewBefore } from '../rotation/policy';
import type { Secret } from '../rotation/ports';
import { parseSecretName, type SecretName } from '../secret-name';
import { parseSecrets } from './secrets';
import { reader, readServices, unsafeSettings, type Environment, type Services } from './variables';

export interface Config extends Services {
  /** Only these secrets can be rotated. */
  readonly secrets: readonly Secret[];
  /** The secret that contains the key that mints and revokes keys. */
  readonly managementKey?: SecretName | undefined;
  readonly policy: RenewalPolicy;
  /** The function's own timeout. */
  readonly timeoutMs: number;
  /** The project of the traces in the log. */
  readonly traceProject: string;
}

// A run needs time to store an issued key. Cloud Run's own limit is 3600 s.
const MIN_TIMEOUT = TIME_TO_ISSUE_AND_ADD + TIME_TO_ADD;
const MAX_TIMEOUT = HOUR;

/**
 * Reads the configuration from the environment. An empty variable counts as unset.
 *
 * @throws RotationError CONFIGURATION_INVALID, one that lists every problem
 */
export function parseConfig(env: Environment): Config {
  const problems = unsafeSettings(env);
  const proxy = proxyProblem(env);
  if (proxy !== undefined) problems.push(`${proxy}.`);
  const read = reader(env, problems);
  const hasManagementKey = (env.MANAGEMENT_KEY ?? '').trim() !== '';
  const secrets = parseSecrets(env.SECRETS ?? '', { canMint: hasManagementKey }, problems);
  const config: Config = {
    secrets,
    managementKey: read(
      'MANAGEMENT_KEY',
      parseSecretName,
      'the full name of a secret, such as projects/PROJECT/secrets/SECRET',
    ),
    policy: {
      renewBefore: read(
        'RENEW_BEFORE',
        parseRenewBefore,
        `${DURATION}, or a share from 1% to 99%, or both such as 50%,48h`,
      ),
      gracePeriodMs: read('GRACE_PERIOD', parseDuration, `0 or ${DURATION}`) ?? 0,
      destroyAfterMs: read('DESTROY_AFTER', parseDuration, `0 or ${DURATION}`),
      verify: read('VERIFY', parseBoolean, 'true or false') ?? true,
      revoke: read('REVOKE', parseBoolean, 'true or false') ?? false,
    },
    timeoutMs:
      read(
        'TIMEOUT',
        parseTimeout,
        `a whole number with a unit, s, m, h or d, such as 540s, from ${MIN_TIMEOUT / SECOND}s to ${MAX_TIMEOUT / SECOND}s`,
      ) ?? 540 * SECOND,
    traceProject: read('GOOGLE_CLOUD_PROJECT', (text) => text, '') ?? secrets[0]?.project ?? '',
    ...readServices(read),
  };
  problems.push(...contradictions(config, hasManagementKey));
  if (problems.length > 0) {
    throw new RotationError('CONFIGURATION_INVALID', {
      problem: `The function doesn't start, because its environment variables are invalid. ${problems.map((text) => `${text}.`).join(' ')}`,
      action: 'Correct these variables. docs/reference/configuration.md describes them.',
    });
  }
  return config;
}

/** Settings that are valid alone and not together. */
function contradictions({ secrets, policy, momento }: Config, hasManagementKey: boolean): string[] {
  const { gracePeriodMs, destroyAfterMs, revoke, verify } = policy;
  const problems = secrets.flatMap((secret) => lifetimeProblems(secret, policy));
  if (destroyAfterMs !== undefined && destroyAfterMs < gracePeriodMs) {
    problems.push(
      'DESTROY_AFTER must not be shorter than GRACE_PERIOD, during which a version stays enabled',
    );
  }
  if (revoke && !hasManagementKey) {
    problems.push('REVOKE needs MANAGEMENT_KEY, which revokes the keys');
  }
  if (revoke && !verify) {
    problems.push(
      'REVOKE needs VERIFY, because a key is revoked only if the newest one is verified',
    );
  }
  if (revoke && gracePeriodMs < HOUR && momento.keyApiEmulator === undefined) {
    problems.push(
      'REVOKE needs a GRACE_PERIOD of at least 1h, because applications can use a superseded key only that long',
    );
  }
  return problems;
}

/** RENEW_BEFORE and GRACE_PERIOD must be shorter than the lifetime that they refer to. */
function lifetimeProblems(
  { name, lifetimeMs }: Secret,
  { renewBefore, gracePeriodMs }: RenewalPolicy,
): string[] {
  if (lifetimeMs === undefined || renewBefore === undefined) return [];
  const { share = 0, minimumMs = 0 } = renewBefore;
  if (minimumMs >= lifetimeMs) {
    return [
      `RENEW_BEFORE must be shorter than the lifetime of ${name}, because otherwise every run rotates it`,
    ];
  }
  const leftMs = Math.max(lifetimeMs * share, minimumMs);
  if (gracePeriodMs <= leftMs) return [];
  return [
    `GRACE_PERIOD must not be longer than the lifetime that a key of ${name} has left when RENEW_BEFORE renews it, because the key expires then`,
  ];
}

/** Reads a share, a duration, or both with a comma between them. */
function parseRenewBefore(text: string): RenewBefore | undefined {
  let share: number | undefined;
  let minimumMs: number | undefined;
  for (const part of text.split(',').map((part) => part.trim())) {
    const percent = /^([1-9]\d?)%$/.exec(part)?.[1];
    if (percent !== undefined) {
      if (share !== undefined) return undefined;
      share = Number(percent) / 100;
    } else {
      const ms = parseDuration(part);
      if (minimumMs !== undefined || ms === undefined || ms === 0) return undefined;
      minimumMs = ms;
    }
  }
  return { share, minimumMs };
}

function parseTimeout(text: string): number | undefined {
  const ms = parseDuration(text);
  return ms !== undefined && ms >= MIN_TIMEOUT && ms <= MAX_TIMEOUT ? ms : undefined;
}

function parseBoolean(text: string): boolean | undefined {
  return text === 'true' ? true : text === 'false' ? false : undefined;
}
