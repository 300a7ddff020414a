/** What is written to the log: one line for each run, and one for a request that was turned away. */
import { defined } from '../defined';
import { inDays } from '../duration';
import type { RotationError } from '../errors';
import { stackFrames, type LogEntry, type Severity } from '../log';
import type { Report } from '../rotation/report';

/** The line of one run for one secret. */
export function rotationLine(report: Report, now: number): LogEntry {
  const { result, keyFingerprint, keyAgeDays, overdueDays, durationMs, steps, cause } = report;
  return {
    severity: severityOf(report),
    message: summary(report),
    event: 'rotation',
    ...result,
    ...(result.expiresAt !== undefined && {
      daysLeft: inDays(Date.parse(result.expiresAt) - now),
    }),
    ...defined({ keyFingerprint, keyAgeDays, overdueDays }),
    durationMs,
    steps,
    ...(cause !== undefined && { stack: stackFrames(cause) }),
  };
}

/** The line of a request that was turned away, or that failed before any run. */
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

function severityOf({ result }: Report): Severity {
  if (result.error?.code === 'CREDENTIAL_NOT_STORED') return 'CRITICAL';
  if (result.outcome === 'failed' || result.outcome === 'incomplete') return 'ERROR';
  return result.warnings === undefined ? 'INFO' : 'WARNING';
}

function summary({ result }: Report): string {
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
