/** The result of a run: a pure function of the record of its steps. */
import { inDays, isoTime } from '../duration';
import { helpFor, RotationError, type ErrorCode } from '../errors';
import {
  causeAsWarning,
  failuresAsWarnings,
  NO_CLEANUP,
  type Cleanup,
  type Failure,
} from './cleanup';
import type { Inspection } from './inspect';
import { renewalTime, type Decision } from './policy';
import type { CurrentKey, IssuedBy, KeyCheck } from './ports';
import type { Renewal, Renewed } from './renew';
import type { Run, Step, StepTimings } from './run';

export const OUTCOMES = [
  'rotated',
  'not_due',
  'already_rotated',
  'superseded',
  'dry_run',
  'incomplete',
  'failed',
] as const;

type Outcome = (typeof OUTCOMES)[number];

/** The return values of the steps of a run. */
export interface RunRecord {
  readonly inspection?: Inspection | undefined;
  readonly decision?: Decision | undefined;
  readonly renewed: Renewed;
  /** The issuer's answer about the key that applications get. */
  readonly check?: KeyCheck | undefined;
  readonly cleanup: Cleanup;
  readonly warnings: readonly string[];
  /** An error that ended the run before a decision. */
  readonly failure?: Failure | undefined;
  /** The other configured name of this secret, under which the secret is rotated. */
  readonly earlierName?: string | undefined;
}

/** The part of the answer that is about one secret. Fields that don't apply are left out. */
export interface RotationResult {
  readonly secret: string;
  readonly outcome: Outcome;
  readonly reason?: string | undefined;
  /** The newest version, as far as the run knows. */
  readonly version?: string | undefined;
  /** The version with the previous key, if the run issued a new key. */
  readonly previousVersion?: string | undefined;
  readonly issuedBy?: IssuedBy | undefined;
  /** The id of the newest key, if it has one. */
  readonly keyId?: string | undefined;
  /** When the newest key expires, RFC 3339. */
  readonly expiresAt?: string | undefined;
  /** Whether the issuer accepted the newest key in this run. */
  readonly verified?: boolean | undefined;
  readonly disabled?: readonly string[] | undefined;
  readonly destroyed?: readonly string[] | undefined;
  /** The ids of revoked keys. */
  readonly revoked?: readonly string[] | undefined;
  readonly warnings?: readonly string[] | undefined;
  readonly error?: ErrorReport | undefined;
  /** Of a compromise response: whether the issuer rejected every old key. */
  readonly contained?: boolean | undefined;
  readonly compromisedKeys?: readonly CompromisedKey[] | undefined;
  /** The disabled versions, whose keys couldn't be read. */
  readonly notRead?: readonly string[] | undefined;
}

/** A key that a compromise response found. */
export interface CompromisedKey {
  readonly keyId?: string | undefined;
  /** Set for a key without an id. */
  readonly fingerprint?: string | undefined;
  /** When the issuer rejected the key, RFC 3339. */
  readonly rejectedAt?: string | undefined;
  /** When a key that isn't rejected expires, RFC 3339 or `never`. */
  readonly expiresAt?: string | undefined;
  /** Why the key can't be revoked. */
  readonly notRevoked?: string | undefined;
}

export interface ErrorReport {
  readonly code: ErrorCode;
  readonly step?: Step | undefined;
  /** Problem, impact on applications, action. */
  readonly message: string;
  /** The section about the code in the documentation, as a path in the repository. */
  readonly help: string;
  readonly retryable: boolean;
}

/** A result, and fields for the log. */
export interface RunResult {
  readonly result: RotationResult;
  /** The HTTP status of the answer if the request has only this result. */
  readonly status: number;
  readonly keyFingerprint?: string | undefined;
  /** How long the key that applications use has been in its version. */
  readonly keyAgeDays?: number | undefined;
  /** How long the renewal has been due; 0 if it isn't due, unset if every run rotates. */
  readonly overdueDays?: number | undefined;
  /** How many keys that were minted for the secret are alive. */
  readonly liveKeys?: number | undefined;
  readonly durationMs: number;
  readonly steps: StepTimings['steps'];
  /** The thrown value of an INTERNAL error. */
  readonly cause?: unknown;
}

type ResultContext = Pick<Run, 'secret' | 'options' | 'policy'>;

interface Measured {
  readonly durationMs: number;
  readonly steps: StepTimings['steps'];
}

export function toResult(
  run: ResultContext,
  record: RunRecord,
  now: number,
  { durationMs, steps }: Measured,
): RunResult {
  const { secret, options, policy } = run;
  const { inspection, renewed, check, cleanup } = record;
  const { renewal } = renewed;
  // A dry run cleans nothing up, so a failed cleanup plan is only a warning.
  const [failure, ...others] = failuresOf(
    options.dryRun ? { ...record, cleanup: NO_CLEANUP } : record,
  );
  const current = newestKey(inspection, renewal);
  const version =
    renewal.kind === 'superseded'
      ? renewal.by
      : renewal.kind === 'rotated'
        ? renewal.version.number
        : inspection?.newest?.number;
  const warnings = warningsOf(run, record, failure, others);
  const issued = renewal.kind === 'rotated' ? renewal.issued : undefined;
  const numbers = (versions: Cleanup['disable']): string[] =>
    versions.map(({ number }) => String(number));
  const list = <T>(items: readonly T[]): readonly T[] | undefined =>
    items.length > 0 || options.dryRun ? items : undefined;

  return {
    result: {
      secret: secret.name,
      outcome: outcomeOf(run, record, failure),
      reason: reasonOf(run, record),
      version: version === undefined ? undefined : String(version),
      previousVersion: issued?.issuedFrom && String(issued.issuedFrom.number),
      issuedBy: issued?.by ?? plannedIssuer(run, record),
      keyId: current?.credential.keyId,
      expiresAt: expiry(current),
      verified: policy.verify && check !== undefined ? check.verdict === 'accepted' : undefined,
      disabled: list(numbers(cleanup.disable)),
      destroyed: list(numbers(cleanup.destroy)),
      revoked: list([...renewed.revoked, ...cleanup.revoke]),
      warnings: warnings.length > 0 ? [...new Set(warnings)] : undefined,
      error: failure && errorReport(failure.error, impactOf(record, now), failure.step),
    },
    status: isIncomplete(failure, record) ? 503 : (failure?.error.status ?? 200),
    keyFingerprint: current?.credential.fingerprint,
    keyAgeDays: ageInDays(record, now),
    overdueDays: overdueDays(
      current,
      renewal.kind === 'rotated' ? undefined : inspection,
      run,
      now,
    ),
    liveKeys: cleanup.liveKeys,
    durationMs,
    steps,
    cause: failure?.error.code === 'INTERNAL' ? failure.error.cause : undefined,
  };
}

function warningsOf(
  { options }: ResultContext,
  { warnings, renewed, cleanup, earlierName }: RunRecord,
  failure: Failure | undefined,
  others: readonly Failure[],
): string[] {
  return [
    ...warnings,
    ...renewed.warnings,
    ...cleanup.warnings,
    ...(options.dryRun ? failuresAsWarnings(cleanup.failures) : []),
    ...(earlierName === undefined ? [] : [configuredTwice(earlierName)]),
    ...(failure === undefined ? [] : causeAsWarning(failure)),
    ...failuresAsWarnings(others),
  ];
}

/** All failures, the one that decides about the outcome first. */
function failuresOf({ failure, decision, renewed, cleanup }: RunRecord): Failure[] {
  const { renewal } = renewed;
  return [
    ...(failure === undefined ? [] : [failure]),
    ...(decision?.action === 'block'
      ? [{ step: blockedStep(decision.error), error: decision.error }]
      : []),
    ...(renewal.kind === 'not_renewed' ? [{ step: renewal.step, error: renewal.error }] : []),
    ...(renewal.kind === 'not_stored' ? [{ step: 'add' as const, error: renewal.error }] : []),
    // A rejected newest key blocks the rotation and the cleanup, and is reported once.
    ...cleanup.failures.filter(
      ({ error }) => decision?.action !== 'block' || error.code !== decision.error.code,
    ),
  ];
}

function blockedStep({ code }: RotationError): Step {
  return code === 'NEWEST_KEY_REJECTED' ? 'verify' : 'inspect';
}

/** Whether only the cleanup failed, so that the newest version is good. */
function isIncomplete(failure: Failure | undefined, { cleanup }: RunRecord): boolean {
  return failure !== undefined && cleanup.failures.includes(failure);
}

function outcomeOf(
  { options }: ResultContext,
  record: RunRecord,
  failure: Failure | undefined,
): Outcome {
  const { decision, renewed, earlierName } = record;
  if (failure !== undefined) return isIncomplete(failure, record) ? 'incomplete' : 'failed';
  if (renewed.renewal.kind === 'superseded') return 'superseded';
  if (options.dryRun) return 'dry_run';
  if (earlierName !== undefined) return 'not_due';
  if (renewed.renewal.kind === 'rotated') return 'rotated';
  return decision?.action === 'skip' ? decision.outcome : 'failed';
}

function reasonOf({ options }: ResultContext, { decision, renewed, earlierName }: RunRecord) {
  if (earlierName !== undefined) return `the same secret as ${earlierName}`;
  if (renewed.renewal.kind === 'superseded') {
    return `version ${renewed.renewal.by} was added by another process during the run`;
  }
  if (decision === undefined || decision.action === 'block') return undefined;
  if (!options.dryRun) return decision.reason;
  return `${decision.action === 'rotate' ? 'would rotate' : 'would not rotate'}: ${decision.reason}`;
}

function configuredTwice(earlierName: string): string {
  return `this secret is configured twice, and the rotator rotates it as ${earlierName}: remove one of the two names`;
}

function plannedIssuer({ options }: ResultContext, { decision, inspection }: RunRecord) {
  if (!options.dryRun || decision?.action !== 'rotate' || inspection === undefined)
    return undefined;
  return inspection.next instanceof RotationError ? undefined : inspection.next.by;
}

/** The key in the newest enabled version at the end of the run. If another process added a version, its key isn't known. */
function newestKey(inspection: Inspection | undefined, renewal: Renewal): CurrentKey | undefined {
  if (renewal.kind === 'superseded') return undefined;
  if (renewal.kind !== 'rotated') return inspection?.current;
  return { version: renewal.version, credential: renewal.issued.credential };
}

function expiry(current: CurrentKey | undefined): string | undefined {
  return current === undefined || current.credential.expiresAt === Infinity
    ? undefined
    : isoTime(current.credential.expiresAt);
}

function ageInDays(
  { inspection, renewed: { renewal } }: RunRecord,
  now: number,
): number | undefined {
  if (renewal.kind === 'superseded') return 0;
  const version = renewal.kind === 'rotated' ? renewal.version : inspection?.readable;
  return version && inDays(Math.max(0, now - version.createdAt));
}

/** How many days the renewal is overdue, at most the age of the key's version. */
function overdueDays(
  current: CurrentKey | undefined,
  inspection: Inspection | undefined,
  { policy }: ResultContext,
  now: number,
): number | undefined {
  const { issuedAt, storedSince } = inspection ?? {};
  const due = current && renewalTime(current, issuedAt, policy, storedSince);
  if (current === undefined || due === undefined) return undefined;
  return inDays(Math.max(0, now - Math.max(due, current.version.createdAt)));
}

function impactOf({ inspection, renewed, check }: RunRecord, now: number): string {
  if (inspection === undefined || renewed.renewal.kind === 'superseded') return describeImpact();
  const rotated = renewed.renewal.kind === 'rotated';
  const current = newestKey(inspection, renewed.renewal);
  return describeImpact({ ...inspection, current, rotated }, check, now);
}

/**
 * The impact of a failure on applications: the second part of every error message. It follows from the state of the secret.
 *
 * @param state undefined if the state isn't known
 */
export function describeImpact(
  state?: Pick<Inspection, 'newest' | 'current' | 'unreadable'> & { readonly rotated?: boolean },
  check?: KeyCheck,
  now = 0,
): string {
  if (state === undefined) return "It isn't known whether applications are affected.";
  const { newest, current, unreadable, rotated = false } = state;
  if (newest === undefined && !rotated) return 'The secret is empty.';
  if (unreadable.size > 0 && !rotated) return "Applications can't read the secret.";
  if (!rotated && newest !== undefined && newest.state !== 'ENABLED') {
    return 'Applications that read latest get an error.';
  }
  if (current === undefined) return "Applications can't use the newest version.";
  const { expiresAt } = current.credential;
  if (expiresAt <= now) {
    return `Applications are being rejected now: the key expired at ${isoTime(expiresAt)}.`;
  }
  if (check?.verdict === 'rejected') return 'Applications are being rejected now.';
  return expiresAt === Infinity
    ? 'Applications can use the current key, which never expires.'
    : `Applications can use the current key until ${isoTime(expiresAt)}.`;
}

/**
 * An error as the answer and the log report it.
 *
 * @param impact undefined if the error isn't about one secret
 */
export function errorReport(
  { code, problem, action, retryable }: RotationError,
  impact?: string,
  step?: Step,
): ErrorReport {
  const message = [problem, impact, action].filter((part) => part !== undefined).join(' ');
  return { code, step, message, help: helpFor(code), retryable };
}
