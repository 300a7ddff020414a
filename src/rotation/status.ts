/** The report of `GET /` about one secret: inspect and decide, without a run. */
import { isoTime, SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import type { SecretName } from '../secret-name';
import { QUOTA_RETRY_FOR } from './deadlines';
import { inspect, type Inspection } from './inspect';
import { orphanedKeys } from './key-usage';
import { permissionsFor, renewalTime, visibleBlocker } from './policy';
import type { IssuedBy, Version } from './ports';
import { describeImpact, errorReport, type ErrorReport } from './result';
import type { Run } from './run';

export interface SecretStatus {
  readonly secret: string;
  /** The newest version, which `latest` names. */
  readonly version?: string | undefined;
  readonly state?: Version['state'] | 'UNREADABLE' | undefined;
  readonly ageSeconds?: number | undefined;
  /** The version that the key fields describe, if it isn't the newest: the newest enabled version that can be read. */
  readonly enabledVersion?: string | undefined;
  readonly keyFingerprint?: string | undefined;
  readonly keyId?: string | undefined;
  readonly expiresAt?: string | undefined;
  readonly timeLeftSeconds?: number | undefined;
  /** RFC 3339, `every run`, or `next run`. */
  readonly nextRenewal?: string | undefined;
  readonly renewedBy?: IssuedBy | undefined;
  readonly enabledVersions?: number | undefined;
  readonly disabledVersions?: number | undefined;
  /** How many keys that were minted for this secret are alive. */
  readonly liveKeys?: number | undefined;
  /** How many live keys no version contains. */
  readonly orphanedKeys?: number | undefined;
  readonly warnings?: readonly string[] | undefined;
  readonly error?: ErrorReport | undefined;
}

export interface StatusReport {
  readonly status: SecretStatus;
  readonly httpStatus: number;
  readonly error?: RotationError | undefined;
}

type StatusRun = Run & { readonly managementKey?: SecretName | undefined };

const UNSAVED =
  'a key that was issued is only in the memory of this instance: run the job before the instance ends';

export async function statusOf(run: StatusRun): Promise<StatusReport> {
  const { secret, policy, keys, clock, unsaved } = run;
  try {
    const inspection = await inspect(run, permissionsFor(policy));
    const now = clock.now();
    const error = visibleBlocker(inspection, keys.issuer, keys.newCredential, now);
    const { warnings, ...counts } = await countKeys(run, inspection);
    const all = [
      ...inspection.warnings,
      ...(unsaved.get(secret) === undefined ? [] : [UNSAVED]),
      ...warnings,
    ];
    const status: SecretStatus = {
      secret: secret.name,
      ...describe(run, inspection, error !== undefined),
      ...counts,
      warnings: all.length > 0 ? all : undefined,
      error: error && errorReport(error, describeImpact(inspection, undefined, now)),
    };
    return { httpStatus: error?.status ?? 200, error, status };
  } catch (thrown) {
    return failedStatus(secret, toRotationError(thrown));
  }
}

/** The report about a secret that couldn't be inspected. */
export function failedStatus({ name }: SecretName, error: RotationError): StatusReport {
  const status = { secret: name, error: errorReport(error, describeImpact()) };
  return { httpStatus: error.status, error, status };
}

function describe(
  { policy, clock }: StatusRun,
  { versions, newest, readable, current, issuedAt, storedSince, unreadable, next }: Inspection,
  isBlocked: boolean,
): Omit<SecretStatus, 'secret'> {
  const now = clock.now();
  const credential = current?.credential;
  const expiresAt = credential?.expiresAt === Infinity ? undefined : credential?.expiresAt;
  const isNewest = newest?.number === readable?.number;
  const count = (state: Version['state']): number =>
    versions.filter((version) => version.state === state).length;
  const nextRenewal = (): string | undefined => {
    if (isBlocked) return undefined;
    if (policy.renewBefore === undefined) return 'every run';
    const due = current && renewalTime(current, issuedAt, policy, storedSince);
    return due === undefined || due === -Infinity || !isNewest ? 'next run' : isoTime(due);
  };
  return {
    version: newest && String(newest.number),
    state: newest && unreadable.has(newest.number) ? 'UNREADABLE' : newest?.state,
    ageSeconds: newest && Math.floor((now - newest.createdAt) / SECOND),
    enabledVersion: readable === undefined || isNewest ? undefined : String(readable.number),
    keyFingerprint: credential?.fingerprint,
    keyId: credential?.keyId,
    expiresAt: expiresAt === undefined ? undefined : isoTime(expiresAt),
    timeLeftSeconds: expiresAt === undefined ? undefined : Math.floor((expiresAt - now) / SECOND),
    nextRenewal: nextRenewal(),
    renewedBy: next instanceof RotationError ? undefined : next.by,
    enabledVersions: count('ENABLED'),
    disabledVersions: count('DISABLED'),
  };
}

/** Counts live and orphaned keys, if there is a management key. If that fails, the report contains a warning instead. */
async function countKeys(
  run: StatusRun,
  { versions }: Inspection,
): Promise<{ liveKeys?: number; orphanedKeys?: number; warnings: string[] }> {
  const { secret, session, deadlines, managementKey } = run;
  if (managementKey === undefined) return { warnings: [] };
  try {
    const { keys, ...own } = await deadlines.retry((limits) => session.ownKeys(secret, limits), {
      quotaRetryFor: QUOTA_RETRY_FOR,
    });
    const warnings = [...own.warnings];
    const orphans = await orphanedKeys(
      run,
      keys.map(({ keyId }) => keyId),
      versions,
    );
    if (!('uncertain' in orphans)) {
      return { liveKeys: keys.length, orphanedKeys: orphans.length, warnings };
    }
    warnings.push(`orphaned keys couldn't be counted: ${orphans.uncertain}`);
    return { liveKeys: keys.length, warnings };
  } catch (thrown) {
    return { warnings: [`the keys couldn't be counted (${toRotationError(thrown).code})`] };
  }
}
