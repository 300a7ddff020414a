/** https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#LogSeverity, as far as it is used here. */
export type Severity = 'INFO' | 'WARNING' | 'ERROR' | 'CRITICAL';

/** One entry in Cloud Logging, which stores the fields other than `severity` and `message` in `jsonPayload`. */
export interface LogEntry {
  readonly severity: Severity;
  readonly message: string;
  readonly [field: string]: unknown;
}

export type Log = (entry: LogEntry) => void;

/** Writes an entry as one line of JSON to standard output, which Cloud Run takes for a structured entry. */
export const writeLog: Log = (entry) => {
  process.stdout.write(`${JSON.stringify(entry)}\n`);
};

/**
 * The stack of an error without its message, which might quote a secret.
 */
export function stackFrames(error: unknown): string[] | undefined {
  const stack = error instanceof Error ? error.stack : undefined;
  return stack?.split('\n').filter((line) => /^\s+at /.test(line));
}
