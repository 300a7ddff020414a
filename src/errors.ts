/**
 * The traits of an error, by its code. Codes are stable, because operators filter on them. Each code has an entry in the
 * documentation.
 *
 * `retryable`: the same call can succeed later without a change. `refused`: the issuer of keys refused to issue a key.
 * `quota`: a rate limit or a quota is used up.
 */
interface Traits {
  readonly status: number;
  readonly retryable: boolean;
  readonly refused?: boolean;
  readonly quota?: boolean;
}

const CODES = {
  INVALID_REQUEST: { status: 400, retryable: false },
  NOT_FOUND: { status: 404, retryable: false },
  METHOD_NOT_ALLOWED: { status: 405, retryable: false },
  SECRET_NOT_CONFIGURED: { status: 404, retryable: false },
  CONFIGURATION_INVALID: { status: 500, retryable: false },

  CERTIFICATE_NOT_TRUSTED: { status: 502, retryable: false },
  CREDENTIALS_UNAVAILABLE: { status: 500, retryable: false },
  PERMISSION_MISSING: { status: 403, retryable: false },
  SECRET_NOT_FOUND: { status: 404, retryable: false },
  NO_VERSION: { status: 409, retryable: false },
  NO_ENABLED_VERSION: { status: 409, retryable: false },
  VERSION_UNREADABLE: { status: 409, retryable: false },
  PAYLOAD_INVALID: { status: 422, retryable: false },
  PAYLOAD_CORRUPT: { status: 502, retryable: true },

  KEY_NOT_REFRESHABLE: { status: 422, retryable: false },
  KEY_EXPIRED: { status: 422, retryable: false },
  ROLE_UNKNOWN: { status: 422, retryable: false },
  LIFETIME_UNKNOWN: { status: 422, retryable: false },
  MANAGEMENT_KEY_INVALID: { status: 422, retryable: false },
  MANAGEMENT_KEY_REFUSED: { status: 502, retryable: false, refused: true },

  REFRESH_REFUSED: { status: 502, retryable: false, refused: true },
  REFRESH_ANSWER_LOST: { status: 502, retryable: false },
  REFRESH_PATH_UNKNOWN: { status: 502, retryable: false },
  MINT_REFUSED: { status: 502, retryable: false, refused: true },
  ISSUED_CREDENTIAL_INVALID: { status: 502, retryable: false },
  MOMENTO_UNAVAILABLE: { status: 503, retryable: true },
  MOMENTO_LIMIT_EXCEEDED: { status: 429, retryable: true, quota: true },

  NEW_KEY_REJECTED: { status: 502, retryable: false },
  NEWEST_KEY_REJECTED: { status: 409, retryable: false },
  VERIFY_INCONCLUSIVE: { status: 503, retryable: true },
  NOT_CONTAINED: { status: 500, retryable: false },
  NOT_CONTAINED_YET: { status: 503, retryable: true },
  KEYS_NOT_REVOKED: { status: 503, retryable: true },

  SECRET_MANAGER_UNAVAILABLE: { status: 503, retryable: true },
  SECRET_MANAGER_QUOTA_EXCEEDED: { status: 429, retryable: true, quota: true },
  SECRET_MANAGER_REFUSED: { status: 502, retryable: false },
  CREDENTIAL_NOT_STORED: { status: 503, retryable: true },
  DEADLINE_EXCEEDED: { status: 504, retryable: true },
  INTERNAL: { status: 500, retryable: false },
} as const satisfies Record<string, Traits>;

export type ErrorCode = keyof typeof CODES;

export const ERROR_CODES = Object.keys(CODES) as ErrorCode[];

/** The section about a code in the documentation, such as `docs/operate/error-codes.md#refresh-refused`. */
export function helpFor(code: ErrorCode): string {
  return `docs/operate/error-codes.md#${code.toLowerCase().replaceAll('_', '-')}`;
}

/**
 * The sentences of an error, without the impact on applications. `describeImpact` adds the impact where the state of the
 * secret is known.
 */
interface ErrorParts {
  /** A sentence with public names only: secret, role, host, status, Google's reason. */
  readonly problem: string;
  /** An imperative for the operator. */
  readonly action: string;
}

export interface RotationErrorOptions extends ErrorOptions {
  /** Whether the call that failed might have had its effect. */
  readonly outcomeUnknown?: boolean | undefined;
  /** The pause that the service requested before the next attempt. */
  readonly retryAfterMs?: number | undefined;
}

/**
 * An error with a code. The problem and the action never contain a key, a refresh token or a payload. They don't contain
 * the text of a remote service either, because that text could quote a secret.
 */
export class RotationError extends Error {
  override readonly name = 'RotationError';
  readonly problem: string;
  readonly action: string;
  readonly outcomeUnknown: boolean;
  readonly retryAfterMs: number;

  constructor(
    readonly code: ErrorCode,
    { problem, action }: ErrorParts,
    { outcomeUnknown = false, retryAfterMs = 0, ...options }: RotationErrorOptions = {},
  ) {
    super(`${problem} ${action}`, options);
    this.problem = problem;
    this.action = action;
    this.outcomeUnknown = outcomeUnknown;
    this.retryAfterMs = retryAfterMs;
  }

  /** The HTTP status of a request that ends with this error. */
  get status(): number {
    return this.#traits.status;
  }

  /** Whether the same call can succeed later without a change. */
  get retryable(): boolean {
    return this.#traits.retryable;
  }

  /** Whether the issuer of keys refused to issue a key. */
  get refused(): boolean {
    return this.#traits.refused ?? false;
  }

  /** Whether a rate limit or a quota is used up. */
  get quota(): boolean {
    return this.#traits.quota ?? false;
  }

  get #traits(): Traits {
    return CODES[this.code];
  }
}

/** @param action an imperative for the operator. The default is for work that a run with more time can finish */
export function deadlineExceeded(
  problem: string,
  action = 'Wait for the next run. If it fails as well, rotate fewer secrets at once, or raise TIMEOUT.',
): RotationError {
  return new RotationError('DEADLINE_EXCEEDED', { problem, action });
}

/**
 * Any thrown value as a RotationError. The message of a foreign error could quote a secret, so it stays in `cause`.
 */
export function toRotationError(error: unknown): RotationError {
  if (error instanceof RotationError) return error;
  const name = error instanceof Error ? error.name : typeof error;
  return new RotationError(
    'INTERNAL',
    {
      problem: `An unexpected ${name} stopped the run. This is a fault of the rotator.`,
      action: 'Report it with the stack in this log line.',
    },
    { cause: error },
  );
}
