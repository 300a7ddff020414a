/**
 * What is known of an error by its code. A code is stable: operators filter on it, and each has its line in the runbook.
 *
 * `retryable`: the same call may succeed without anybody doing anything. `refused`: the issuer of keys said no to an
 * issue. `quota`: it passes with time, for everybody who waits.
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

  CREDENTIALS_UNAVAILABLE: { status: 500, retryable: false },
  PERMISSION_MISSING: { status: 403, retryable: false },
  SECRET_NOT_FOUND: { status: 404, retryable: false },
  NO_VERSION: { status: 409, retryable: false },
  NO_ENABLED_VERSION: { status: 409, retryable: false },
  PAYLOAD_INVALID: { status: 422, retryable: false },
  PAYLOAD_CORRUPT: { status: 502, retryable: true },

  KEY_NOT_REFRESHABLE: { status: 422, retryable: false },
  KEY_EXPIRED: { status: 422, retryable: false },
  ROLE_UNKNOWN: { status: 422, retryable: false },
  LIFETIME_UNKNOWN: { status: 422, retryable: false },
  MANAGEMENT_KEY_MISSING: { status: 422, retryable: false },
  MANAGEMENT_KEY_INVALID: { status: 422, retryable: false },
  MANAGEMENT_KEY_REFUSED: { status: 502, retryable: false, refused: true },

  REFRESH_REFUSED: { status: 502, retryable: false, refused: true },
  REFRESH_ANSWER_LOST: { status: 502, retryable: false },
  REFRESH_PATH_UNKNOWN: { status: 502, retryable: false },
  MINT_REFUSED: { status: 502, retryable: false, refused: true },
  ISSUED_CREDENTIAL_INVALID: { status: 502, retryable: true },
  MOMENTO_UNAVAILABLE: { status: 503, retryable: true },
  MOMENTO_LIMIT_EXCEEDED: { status: 429, retryable: true, quota: true },

  NEW_KEY_REJECTED: { status: 502, retryable: false },
  NEWEST_KEY_REJECTED: { status: 409, retryable: false },
  VERIFY_INCONCLUSIVE: { status: 503, retryable: true },
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

export interface RotationErrorOptions extends ErrorOptions {
  /** The call that failed may have had its effect all the same. */
  readonly mayHaveHadEffect?: boolean;
  /** How long the service asked to wait before the next try. */
  readonly retryAfterMs?: number;
}

/**
 * An error with a code. Its message tells an operator what happened, what it means for readers of the secret, and what
 * to do; it never holds a key, a refresh token, a payload, or a remote service's text, which could echo one.
 */
export class RotationError extends Error {
  override readonly name = 'RotationError';
  readonly mayHaveHadEffect: boolean;
  readonly retryAfterMs: number;

  constructor(
    readonly code: ErrorCode,
    message: string,
    { mayHaveHadEffect = false, retryAfterMs = 0, ...options }: RotationErrorOptions = {},
  ) {
    super(message, options);
    this.mayHaveHadEffect = mayHaveHadEffect;
    this.retryAfterMs = retryAfterMs;
  }

  /** The HTTP status of a request that ends with this error. */
  get status(): number {
    return this.#traits.status;
  }

  /** Whether the same call may succeed without anybody doing anything. */
  get retryable(): boolean {
    return this.#traits.retryable;
  }

  /** Whether the issuer of keys said no. */
  get refused(): boolean {
    return this.#traits.refused ?? false;
  }

  /** Whether a quota was used up, which passes with time. */
  get quota(): boolean {
    return this.#traits.quota ?? false;
  }

  get #traits(): Traits {
    return CODES[this.code];
  }
}

/** Any thrown value as a RotationError. The message of a foreign error could quote a secret, so it stays in `cause`. */
export function toRotationError(error: unknown): RotationError {
  if (error instanceof RotationError) return error;
  const name = error instanceof Error ? error.name : typeof error;
  return new RotationError(
    'INTERNAL',
    `An unexpected ${name} stopped the run; this is a fault of the rotator. Readers keep the newest version. ` +
      'Look for the stack of this error in the log line and report it.',
    { cause: error },
  );
}
