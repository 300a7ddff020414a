/** The errors of Momento's services. They contain known codes, never the text of a remote service. */
import { certificateError, networkCode, unreachable } from '../connection-errors';
import { isoTime } from '../duration';
import { RotationError, type RotationErrorOptions } from '../errors';

const WAIT = 'Wait for the next run.';

/** MOMENTO_UNAVAILABLE. @param problem the end of a sentence that begins with the host */
export function unavailable(
  host: string,
  problem: string,
  options: RotationErrorOptions = {},
  action = `${WAIT} If it fails as well, check the network of the function and the status of Momento.`,
): RotationError {
  return new RotationError(
    'MOMENTO_UNAVAILABLE',
    { problem: `${host} ${problem}.`, action },
    options,
  );
}

interface ConnectionFailure {
  readonly host: string;
  /** A code of Node.js, or a text of a library that might contain one. */
  readonly text: string;
  /** Whether the request might have been sent. */
  readonly wasConnected: boolean;
  readonly outcomeUnknown?: boolean | undefined;
  /** The host of the proxy on the way. */
  readonly proxy?: string | undefined;
}

/** The error for a connection that failed, with its cause. */
export function connectionFailed({
  host,
  text,
  wasConnected,
  outcomeUnknown,
  proxy,
}: ConnectionFailure): RotationError {
  const untrusted = wasConnected ? undefined : certificateError(host, text);
  if (untrusted !== undefined) return untrusted;
  const known = networkCode(text);
  if (wasConnected) {
    const cause = known === undefined ? '' : ` (${known})`;
    return unavailable(host, `lost the connection before its answer was complete${cause}`, {
      outcomeUnknown,
    });
  }
  return unavailable(
    host,
    unreachable(text, proxy),
    {},
    `Check the host's name, and the network, DNS and proxy settings of the function.`,
  );
}

/** A temporary refusal of a call that issues a key. */
interface Limit {
  /** For the message, such as `the refresh`. */
  readonly call: string;
  /** Momento's status. */
  readonly answer: string;
  readonly retryAfterMs?: number | undefined;
  /** How many keys the account has, if they can be listed. */
  readonly accountKeys?: number | undefined;
}

/** Momento answers 429 for two reasons, which need different actions. */
export function limitExceeded({ call, answer, retryAfterMs, accountKeys }: Limit): RotationError {
  const count = accountKeys === undefined ? '' : ` The account has ${accountKeys} v2 keys.`;
  return new RotationError(
    'MOMENTO_LIMIT_EXCEEDED',
    {
      problem: `Momento temporarily refused ${call} (${answer}): the account calls too often, or it has reached its limit of API keys.${count}`,
      action: `${WAIT} If it fails as well, rotate fewer secrets at once, and revoke unused keys.`,
    },
    { retryAfterMs },
  );
}

/** The error for 429 from a call that doesn't issue a key. */
export function throttled(call: string, retryAfterMs: number): RotationError {
  return new RotationError(
    'MOMENTO_LIMIT_EXCEEDED',
    {
      problem: `Momento's key API throttles ${call} (HTTP 429).`,
      action: `${WAIT} If it fails as well, rotate fewer secrets at once.`,
    },
    { retryAfterMs },
  );
}

/** @param problem continues "contains no usable key:" */
export function invalidIssue(what: 'mint' | 'refresh', problem: string): RotationError {
  const action =
    what === 'mint'
      ? `${WAIT} If it fails as well, report this: the API might have changed.`
      : 'Create a new API key with a refresh token in the Momento console, and store it as a new version. Report this: the API might have changed.';
  return new RotationError(
    'ISSUED_CREDENTIAL_INVALID',
    { problem: `Momento's answer to the ${what} contains no usable key: ${problem}.`, action },
    { outcomeUnknown: true },
  );
}

/** @param reason continues "can't be refreshed:" */
export function notRefreshable(
  secret: string,
  reason: string,
  kind: 'v2' | 'older',
): RotationError {
  return new RotationError('KEY_NOT_REFRESHABLE', {
    problem: `The newest key of ${secret} can't be refreshed: ${reason}.`,
    action: `Store a key that expires, with its refresh token, as a new version, or ${mintInstead(kind)}.`,
  });
}

/** The settings that replace the refresh of keys by minting. */
export function mintInstead(kind: 'v2' | 'older'): string {
  return kind === 'v2'
    ? 'set MANAGEMENT_KEY, so that keys are minted'
    : "set MANAGEMENT_KEY and the secret's 'role', so that keys are minted";
}

/** @param name of the secret with the management key */
export function managementKeyInvalid(name: string, reason: string): RotationError {
  return new RotationError('MANAGEMENT_KEY_INVALID', {
    problem: `The management key in ${name} can't be used: ${reason}.`,
    action: `Store a v2 key that can manage keys as a new version of ${name}.`,
  });
}

/** Momento rejected the management key (401), or doesn't allow the call (403). */
export class ManagementKeyRefused extends RotationError {
  /**
   * @param name of the secret with the management key
   * @param call the call that was refused, such as `mint a key`
   */
  constructor(
    name: string,
    readonly httpStatus: 401 | 403,
    call: string,
  ) {
    const problem =
      httpStatus === 401
        ? `Momento rejected the management key in ${name} (HTTP 401): it is unknown, revoked or expired.`
        : `Momento doesn't allow the management key in ${name} to ${call} (HTTP 403): its role can't manage keys, or the account is locked.`;
    super('MANAGEMENT_KEY_REFUSED', {
      problem,
      action: `Store a v2 key whose role can manage keys as a new version of ${name}.`,
    });
  }
}

export function roleUnknown(secret: string): RotationError {
  return new RotationError('ROLE_UNKNOWN', {
    problem: `The role of the next key of ${secret} is unknown: neither the configuration, nor the newest version, nor Momento's list of keys contains it.`,
    action: `Set the 'role' of ${secret} in SECRETS.`,
  });
}

/** @param reason as a sentence */
export function lifetimeUnknown(secret: string, reason: string): RotationError {
  return new RotationError('LIFETIME_UNKNOWN', {
    problem: `The lifetime of the next key of ${secret} is unknown. ${reason}`,
    action: `Set the 'lifetime' of ${secret} in SECRETS.`,
  });
}

export function mintRefused(secret: string, role: string, status: number): RotationError {
  return status === 404
    ? new RotationError('MINT_REFUSED', {
        problem: `The role ${role}, which the next key of ${secret} must have, doesn't exist at Momento (HTTP 404).`,
        action: `Set the 'role' of ${secret} in SECRETS to the id of a role in the Momento console.`,
      })
    : new RotationError('MINT_REFUSED', {
        problem: `Momento refused to mint a key with the role ${role} for ${secret} (HTTP ${status}).`,
        action:
          'Check in the Momento console that a key with this role and lifetime can be created.',
      });
}

export function pathUnknown(path: string, status: number): RotationError {
  return new RotationError('REFRESH_PATH_UNKNOWN', {
    problem: `Momento's key API has no refresh at ${path} (HTTP ${status}). The refresh token wasn't used.`,
    action: `Correct MOMENTO_REFRESH_PATH, or ${mintInstead('v2')}.`,
  });
}

export function keyExpired(secret: string, expiresAt: number, action: string): RotationError {
  return new RotationError('KEY_EXPIRED', {
    problem: `The newest key of ${secret} expired at ${isoTime(expiresAt)}, and Momento doesn't refresh expired keys.`,
    action,
  });
}
