/** The lines in the log: one for each run, and one for a request that was refused. */
import { inDays } from '../duration';
import type { RotationError } from '../errors';
import { stackFrames, type LogEntry, type Severity } from '../log';
import type { RunResult } from '../rotation/result';

/** The line of one run for one secret. */
export function rotationLine(run: RunResult, now: number): LogEntry {
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
    ...(cause !== undefined && { stack: stackFrames(cause) }),
  };
}

/** The line of a request that was refused, or that failed before any run. */
export function requestLine(error: RotationError): LogEntry {
  const { code, message, retryable, status, cause } = error;
  return {
    severity: status >= 500 ? 'ERROR' : 'WARNING',
    message: `${code}: ${message}`,
    event: 'request',
    error: { code, message, retryable },
    ...(code === 'INTERNAL' && { stack: stackFrames(cause) }),
  };
}

function severityOf({ result }: RunResult): Severity {
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
    ...(disabled.length === 0 ? [] : [`disabled ${disabled.join(', ')}`]),
    ...(destroyed.length === 0 ? [] : [`destroyed ${destroyed.join(', ')}`]),
    ...(revoked.length === 0 ? [] : [`revoked ${revoked.join(', ')}`]),
    ...(reason === undefined ? [] : [reason]),
    ...(error === undefined ? [] : [`${error.code}: ${error.message}`]),
  ];
  return parts.join('; ');
}
