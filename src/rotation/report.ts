/** What a run ended with, derived in one place from what its steps gave. */
import { defined } from '../defined';
import { inDays, isoTime } from '../duration';
import { RotationError, type ErrorCode } from '../errors';
import { renewalTime } from './decide';
import type { CurrentKey, IssuedBy } from './ports';
import type { Run } from './run';
import type { Step } from './steps';
import type { Trail } from './trail';

export const OUTCOMES = [
  'rotated',
  'not_due',
  'already_rotated',
  'superseded',
  'dry_run',
  'incomplete',
  'failed',
] as const;

export type Outcome = (typeof OUTCOMES)[number];

/** The part of the answer that is about one secret. Fields that do not apply are left out. */
export interface RotationResult {
  readonly secret: string;
  readonly outcome: Outcome;
  readonly reason?: string;
  /** The newest version, as far as the run knows. */
  readonly version?: string;
  /** The version that the new one was issued from. */
  readonly previousVersion?: string;
  /** How the new key was got. */
  readonly issuedBy?: IssuedBy;
  /** The id of the newest key, where it has one. */
  readonly keyId?: string;
  /** When the newest key expires, RFC 3339. */
  readonly expiresAt?: string;
  /** Whether this run proved the newest key. */
  readonly verified?: boolean;
  readonly disabled?: readonly string[];
  readonly destroyed?: readonly string[];
  /** Ids of keys. */
  readonly revoked?: readonly string[];
  readonly warnings?: readonly string[];
  readonly error?: ErrorReport;
}

export interface ErrorReport {
  readonly code: ErrorCode;
  readonly step?: Step;
  readonly message: string;
  readonly retryable: boolean;
}

/** A result, and what only the log is told. */
export interface Report {
  readonly result: RotationResult;
  /** The HTTP status that it asks for. */
  readonly status: number;
  readonly keyFingerprint?: string;
  /** How long the key that readers should be using has been in its version. */
  readonly keyAgeDays?: number;
  /** How long its renewal has been due; 0 if it is not, unset where every run rotates. */
  readonly overdueDays?: number;
  readonly durationMs: number;
  readonly steps: Trail['steps'];
  /** What was thrown, where it was not foreseen. */
  readonly cause?: unknown;
}

export function report({ secret, options, policy, clock, trail }: Run): Report {
  const now = clock.now();
  const { outputs, failure, warnings, steps, durationMs } = trail;
  const { gather: found, decide: decision, issue, verify, add } = outputs;
  const issued = add !== undefined && issue !== undefined && 'by' in issue ? issue : undefined;
  const supersededBy = [issue, verify].flatMap((output) =>
    typeof output === 'object' && 'supersededBy' in output ? output.supersededBy : [],
  )[0];
  const next = found === undefined || found.next instanceof RotationError ? undefined : found.next;
  const newest = newestKey();
  const revoked = [...trail.discarded, ...(outputs.revoke ?? [])];
  const version = supersededBy ?? add ?? found?.newest;
  const readable = supersededBy ?? add ?? found?.enabled;

  const result: RotationResult = defined({
    secret: secret.name,
    outcome: outcome(),
    reason: reason(),
    version: version && String(version.number),
    previousVersion: issued?.issuedFrom === undefined ? undefined : String(issued.issuedFrom),
    issuedBy:
      issued?.by ?? (options.dryRun && decision?.action === 'rotate' ? next?.by : undefined),
    keyId: newest?.credential.keyId,
    expiresAt:
      newest === undefined || newest.credential.expiresAt === Infinity
        ? undefined
        : isoTime(newest.credential.expiresAt),
    verified: policy.verify && typeof verify === 'string' ? verify === 'accepted' : undefined,
    disabled: outputs.retire?.map(({ number }) => String(number)),
    destroyed: outputs.destroy?.map(({ number }) => String(number)),
    revoked: outputs.revoke !== undefined || revoked.length > 0 ? revoked : undefined,
    warnings: warnings.size > 0 ? [...warnings] : undefined,
    error: failure && errorReport(failure.error, failure.step),
  });
  return defined({
    result,
    status: failure?.outcome === 'incomplete' ? 503 : (failure?.error.status ?? 200),
    keyFingerprint: newest?.credential.fingerprint,
    keyAgeDays: readable && inDays(Math.max(0, now - readable.createdAt)),
    overdueDays: overdueDays(),
    durationMs,
    steps,
    cause: failure?.error.code === 'INTERNAL' ? failure.error.cause : undefined,
  });

  /** No key has been due for longer than there has been its version; one that never expires is due from then on. */
  function overdueDays(): number | undefined {
    const due = newest && renewalTime(newest, policy);
    if (newest === undefined || due === undefined) return undefined;
    return inDays(Math.max(0, now - Math.max(due, newest.version.createdAt)));
  }

  function outcome(): Outcome {
    if (failure !== undefined) return failure.outcome;
    if (supersededBy !== undefined) return 'superseded';
    if (options.dryRun) return 'dry_run';
    if (add !== undefined) return 'rotated';
    return decision?.action === 'keep' ? decision.outcome : 'failed';
  }

  function reason(): string | undefined {
    if (supersededBy !== undefined) {
      return `version ${supersededBy.number} was added by somebody else meanwhile`;
    }
    if (decision === undefined || decision.action === 'refuse') return undefined;
    if (!options.dryRun) return decision.reason;
    return `${decision.action === 'rotate' ? 'would rotate' : 'would not rotate'}: ${decision.reason}`;
  }

  /** The key that readers should be using, as the run leaves it; of one that somebody else added, nothing is known. */
  function newestKey(): CurrentKey | undefined {
    if (supersededBy !== undefined) return undefined;
    if (issued === undefined || add === undefined) return found?.current;
    return { version: add, credential: issued.credential };
  }
}

/** What the answer tells of an error. */
export function errorReport({ code, message, retryable }: RotationError, step?: Step): ErrorReport {
  return { code, ...(step && { step }), message, retryable };
}
