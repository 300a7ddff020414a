/** Why there is no usable key. Codes are stable. */
export type NoKeyCode =
  | 'SECRET_NOT_FOUND'
  | 'SECRET_ACCESS_DENIED'
  | 'SECRET_VERSION_DISABLED'
  | 'SOURCE_UNAVAILABLE'
  | 'GOOGLE_CREDENTIALS_MISSING'
  | 'PAYLOAD_INVALID'
  | 'ENDPOINT_MISSING'
  | 'KEY_REJECTED'
  | 'MOMENTO_UNAVAILABLE';

/** The class of every error of this package. Messages state the problem and the action, and contain no secret. */
export abstract class RotatingClientError extends Error {
  abstract readonly code: string;
}

/** No key could be read, or Momento doesn't accept the key. `code` distinguishes the cases. */
export class NoKeyError extends RotatingClientError {
  override readonly name = 'NoKeyError';
  readonly code: NoKeyCode;

  constructor(code: NoKeyCode, problem: string, action: string) {
    super(`${problem} ${action}`);
    this.code = code;
  }
}

/** The client was used after `close()`. */
export class ClientClosedError extends RotatingClientError {
  override readonly name = 'ClientClosedError';
  readonly code = 'CLIENT_CLOSED';

  constructor() {
    super(
      'The Momento client is closed. Create a new RotatingCacheClient, or close a client only after its last call.',
    );
  }
}

/** An option is missing or invalid. The constructor throws it. */
export class InvalidOptionError extends RotatingClientError {
  override readonly name = 'InvalidOptionError';
  readonly code = 'INVALID_OPTION';
}
