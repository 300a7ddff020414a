/** Selects and formats the log lines about a request. */
import type { CompromisedKey, RotationResult } from '../../src/rotation/result';
import type { SecretStatus } from '../../src/rotation/status';

/** The fields of a log line that this tool uses. */
export type Line = Partial<RotationResult> &
  Partial<SecretStatus> & {
    readonly message?: string;
    /** How many secrets the request names. */
    readonly requestedSecrets?: number;
    /** The rotator's reason, if `reason` contains the operator's text. */
    readonly decision?: string;
  };

/** The last line of each secret, or the last line if it is about the whole request. Earlier deliveries don't count. */
export function lastLines(lines: readonly Line[]): Line[] {
  if (lines.at(-1)?.secret === undefined) return lines.slice(-1);
  return [...new Map(lines.filter(isAboutSecret).map((line) => [line.secret, line])).values()];
}

/** Whether the result is final. After a retryable failure, Pub/Sub delivers the request again. */
export function isFinal(lines: readonly Line[]): boolean {
  const [first] = lines;
  const isComplete = lines.length >= (first?.requestedSecrets ?? 1);
  return first !== undefined && isComplete && !lines.some(isRetried);
}

export function isRetried({ error }: Line): boolean {
  return error?.retryable === true;
}

export function isSuccess({ secret, outcome, contained, error }: Line): boolean {
  const isFailure = outcome === 'failed' || outcome === 'incomplete' || contained === false;
  return secret !== undefined && error === undefined && !isFailure;
}

function isAboutSecret({ secret }: Line): boolean {
  return secret !== undefined;
}

type Columns<T> = Readonly<Record<string, (row: T) => string | number | undefined>>;

const COLUMNS: Columns<Line> = {
  SECRET: ({ secret }) => secret,
  OUTCOME: ({ outcome }) => outcome,
  CONTAINED: ({ contained }) => (contained === true ? 'yes' : contained === false ? 'NO' : ''),
  VERSION: ({ version }) => version,
  STATE: ({ state }) => state,
  EXPIRES: ({ expiresAt }) => minute(expiresAt),
  'NEXT RENEWAL': ({ nextRenewal }) => minute(nextRenewal),
  'RENEWED BY': ({ renewedBy }) => renewedBy,
  'ORPHANED KEYS': ({ orphanedKeys }) => orphanedKeys,
  DISABLED: ({ disabled }) => disabled?.join(),
  // For a compromise response, the second table has the revoked keys.
  REVOKED: ({ revoked, contained }) => (contained === undefined ? revoked?.join() : ''),
  REASON: ({ decision, reason }) => decision ?? reason,
};

const KEY_COLUMNS: Columns<CompromisedKey> = {
  'OLD KEY': ({ keyId, fingerprint }) => keyId ?? fingerprint,
  REJECTED: ({ rejectedAt }) => minute(rejectedAt) ?? 'no',
  EXPIRES: ({ expiresAt }) => minute(expiresAt),
  'NOT REVOKED': ({ notRevoked }) => notRevoked,
};

export function show(lines: readonly Line[]): string {
  const keys = lines.flatMap(({ compromisedKeys = [] }) => compromisedKeys);
  const parts = [
    table(lines.filter(isAboutSecret), COLUMNS),
    table(keys, KEY_COLUMNS),
    ...lines.flatMap(remarksOn),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

export function remarksOn({ secret, message, error, warnings = [], notRead }: Line): string[] {
  const help = error === undefined ? '' : ` See ${error.help}.`;
  // A line about the whole request has its error in the message.
  if (secret === undefined) return [clean(`${message ?? ''}${help}`)];
  return [
    ...warnings.map((warning) => `WARNING: ${secret}: ${warning}`),
    ...(notRead === undefined ? [] : [`WARNING: ${secret}: not read: ${notRead.join()}`]),
    ...(error === undefined ? [] : [`${error.code}: ${secret}: ${error.message}${help}`]),
  ].map(clean);
}

/** A table without the columns that are empty in every row. */
function table<T>(rows: readonly T[], columns: Columns<T>): string {
  const filled = Object.entries(columns)
    .map(([title, valueOf]) => [title, ...rows.map((row) => clean(String(valueOf(row) ?? '')))])
    .filter(([, ...values]) => values.some((value) => value !== ''))
    .map((cells) => cells.map((cell) => cell.padEnd(Math.max(...cells.map((c) => c.length)))));
  const [first = []] = filled;
  return first
    .map((_, row) =>
      filled
        .map((c) => c[row])
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Removes the seconds of an RFC 3339 time. Returns other texts unchanged, such as `every run`. */
function minute(time: string | undefined): string | undefined {
  return time?.replace(/^(\S{10}T\d\d:\d\d):\S+$/, '$1Z');
}

/** Removes control characters, because any program can write to the log and they would act on the terminal. */
function clean(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, ' ');
}
