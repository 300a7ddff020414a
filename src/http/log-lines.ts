/** The log lines: one for each run, and one for each refused request. */
import { inDays } from '../duration';
import type { RotationError } from '../errors';
import { stackFrames, type LogEntry, type Severity } from '../log';
import { errorReport, type RunResult } from '../rotation/result';
import type { StatusReport } from '../rotation/status';

/** Where a request came from. */
export interface Origin {
  readonly trigger: 'schedule' | 'secret-manager' | 'operator' | 'http';
  /** The operator's reason for the request. */
  readonly reason?: string | undefined;
  /** Set for a message of Pub/Sub. */
  readonly messageId?: string | undefined;
  /** How many secrets the message concerns. The function writes one line for each secret. */
  readonly requestedSecrets?: number | undefined;
}

/** The line of one run for one secret. */
export function rotationLine(run: RunResult, now: number, origin: Origin): LogEntry {
  const { result, keyFingerprint, keyAgeDays, overdueDays, liveKeys, cause } = run;
  return {
    severity: severityOf(run),
    message: summary(run),
    event: 'rotation',
    ...result,
    ...(result.expiresAt !== undefined && {
      daysLeft: inDays(Date.parse(result.expiresAt) - now),
    }),
    keyFingerprint,
    keyAgeDays,
    overdueDays,
    liveKeys,
    durationMs: run.durationMs,
    steps: run.steps,
    ...origin,
    // If the operator gave a reason, the rotator's reason is in `decision`.
    reason: origin.reason ?? result.reason,
    ...(origin.reason !== undefined && { decision: result.reason }),
    ...(cause !== undefined && { stack: stackFrames(cause) }),
  };
}

/** The line of a request that was refused, or that failed before any run. */
export function requestLine(error: RotationError, origin: Origin): LogEntry {
  const { code, message, status, cause } = error;
  return {
    severity: status >= 500 ? 'ERROR' : 'WARNING',
    message: `${code}: ${message}`,
    event: 'request',
    error: errorReport(error),
    ...origin,
    ...(code === 'INTERNAL' && { stack: stackFrames(cause) }),
  };
}

/** The line of a status report about one secret, which a message requested. */
export function statusLine({ status, error }: StatusReport, origin: Origin): LogEntry {
  const { secret, version, nextRenewal } = status;
  const parts = [
    `status ${secret}`,
    ...(version === undefined ? [] : [`newest version ${version}`]),
    ...(nextRenewal === undefined ? [] : [`next renewal ${nextRenewal}`]),
    ...(status.error === undefined ? [] : [`${status.error.code}: ${status.error.message}`]),
  ];
  return {
    severity: error === undefined ? 'INFO' : 'ERROR',
    message: parts.join('; '),
    event: 'status',
    ...status,
    ...origin,
    ...(error?.code === 'INTERNAL' && { stack: stackFrames(error.cause) }),
  };
}

function severityOf({ result }: RunResult): Severity {
  if (result.contained === false) return 'CRITICAL';
  if (result.error?.code === 'CREDENTIAL_NOT_STORED') return 'CRITICAL';
  if (result.outcome === 'failed' || result.outcome === 'incomplete') return 'ERROR';
  return result.warnings === undefined ? 'INFO' : 'WARNING';
}

function summary({ result }: RunResult): string {
  const { outcome, secret, reason, error, version } = result;
  const { disabled = [], destroyed = [], revoked = [] } = result;
  const parts = [
    `${outcome} ${secret}`,
    ...(version === undefined ? [] : [`newest version ${version}`]),
    ...(disabled.length === 0 ? [] : [`disabled ${enumerated(disabled)}`]),
    ...(destroyed.length === 0 ? [] : [`destroyed ${enumerated(destroyed)}`]),
    ...(revoked.length === 0 ? [] : [`revoked ${enumerated(revoked)}`]),
    ...(reason === undefined ? [] : [reason]),
    ...(error === undefined ? [] : [`${error.code}: ${error.message}`]),
  ];
  return parts.join('; ');
}

/** A list in a message. The fields of the line have all items; Cloud Logging limits a line to 256 KiB. */
function enumerated(items: readonly string[]): string {
  const shown = items.slice(0, 10).join(', ');
  return items.length > 10 ? `${shown} and ${items.length - 10} more` : shown;
}
