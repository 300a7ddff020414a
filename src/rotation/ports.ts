/**
 * The two services that a rotation calls: a store of secrets, and an issuer of keys. Types, and the limits that the run and
 * the services share. Every method fails with a RotationError. Times are in milliseconds: `...At` since the epoch, `deadline`
 * on the monotonic clock.
 */
import { MINUTE } from '../duration';
import type { RotationError } from '../errors';
import type { SecretName } from '../secret-name';

/** A secret that is rotated, and the terms of the keys that are minted for it. */
export interface Secret extends SecretName {
  /** The role of minted keys. */
  readonly role?: string | undefined;
  /** The lifetime of minted keys. */
  readonly lifetimeMs?: number | undefined;
  /** The format of the first payload of an empty secret. */
  readonly payload: 'json' | 'key';
}

/** A secret version. */
export interface Version {
  readonly number: number;
  readonly state: 'ENABLED' | 'DISABLED' | 'DESTROYED';
  readonly createdAt: number;
  readonly etag?: string | undefined;
  /** Whether Secret Manager will destroy the version after a delay. */
  readonly destroyScheduled?: boolean | undefined;
  /** Set for a version that was accessed and that no list has shown yet. */
  readonly unlisted?: boolean | undefined;
  /**
   * Set if the store's answer has no state or creation time that can be read. The version counts as enabled, `createdAt` is
   * the latest possible time, and the store refuses to disable or destroy the version.
   */
  readonly incomplete?: boolean | undefined;
}

/** The versions of a secret, unique by number, in ascending order. */
export interface VersionList {
  readonly versions: readonly Version[];
  /** The secret's name as the store writes it, with the project's number; unset if there is no version. */
  readonly canonicalName?: string | undefined;
}

/** The answer to a request for a payload. */
export type Access =
  | {
      readonly kind: 'payload';
      readonly number: number;
      readonly payload: Uint8Array;
      readonly canonicalName?: string | undefined;
    }
  /** There is no such version. */
  | { readonly kind: 'absent' }
  /** The version or its encryption key is disabled or destroyed, or an IAM condition forbids the access. */
  | {
      readonly kind: 'not_readable';
      readonly reason: string;
      /** Set if IAM denied the call. IAM also denies calls for a number that no version has. */
      readonly isDenied?: boolean | undefined;
    };

export type Permission = 'access' | 'list' | 'add' | 'disable' | 'destroy';

export interface CallLimits {
  /** A call that can't begin before this time on the monotonic clock fails at once with DEADLINE_EXCEEDED. */
  readonly deadline: number;
}

export interface SecretStore {
  /** Reads a payload. By number the answer is strongly consistent, by `latest` it can lag. */
  access(secret: SecretName, version: number | 'latest', limits: CallLimits): Promise<Access>;
  /** A version without its payload; undefined if there is no such version. */
  get(secret: SecretName, version: number, limits: CallLimits): Promise<Version | undefined>;
  /** The versions of a secret. The list can lag, in states and by whole versions. */
  list(secret: SecretName, limits: CallLimits): Promise<VersionList>;
  /** The permissions among these that the function lacks on the secret. */
  missingPermissions(
    secret: SecretName,
    permissions: readonly Permission[],
    limits: CallLimits,
  ): Promise<Permission[]>;
  /** The error for missing permissions. It names the roles to grant. */
  permissionMissing(secret: SecretName, permissions: readonly Permission[]): RotationError;
  /** @throws RotationError with `outcomeUnknown` if the version might have been added */
  add(secret: SecretName, payload: Uint8Array, limits: CallLimits): Promise<Version>;
  /**
   * Disables a version.
   *
   * @param newer a version that exists and is newer: the call refuses to disable the newest version
   * @returns false if the version changed since it was listed; then it is left alone
   */
  disable(
    secret: SecretName,
    version: Version,
    newer: Version,
    limits: CallLimits,
  ): Promise<boolean>;
  /** Destroys a version; parameters and result as for `disable`. */
  destroy(
    secret: SecretName,
    version: Version,
    newer: Version,
    limits: CallLimits,
  ): Promise<boolean>;
}

/** The content of a payload, as far as a rotation must know it. Printing one shows no secret. */
export interface Credential {
  /** Names the key in logs: the first 8 hex digits of its SHA-256. */
  readonly fingerprint: string;
  /** Names the refresh token in logs: the first 8 hex digits of its SHA-256. */
  readonly tokenFingerprint?: string | undefined;
  /** The key's public id at its issuer; keys of older kinds have none. */
  readonly keyId?: string | undefined;
  /** Infinity for a key that never expires. */
  readonly expiresAt: number;
  /** When the key was issued, if the payload contains it. */
  readonly issuedAt?: number | undefined;
  /** The payload of a version. */
  serialize(): Uint8Array;
}

/** `refresh`: with the key's own refresh token. `mint`: with a management key. */
export type IssuedBy = 'refresh' | 'mint';

/** The issuer's answer about a key. `host` is the server that gave it, for error messages. */
export type KeyCheck =
  | { readonly verdict: 'accepted' }
  | {
      readonly verdict: 'rejected';
      readonly host: string;
      /** Whether the issuer's own API rejected the key. Any other host might be the wrong one, and reject a good key. */
      readonly byIssuer: boolean;
    }
  /** No answer about the key itself. `problem` is a sentence without a period, such as `cache.x.y couldn't be reached (ENOTFOUND)`. */
  | { readonly verdict: 'inconclusive'; readonly problem: string };

/** The key that applications use: the one in the newest enabled version. */
export interface CurrentKey<C extends Credential = Credential> {
  readonly version: Version;
  readonly credential: C;
}

/** A credential from the issuer. */
export interface IssuedKey {
  readonly credential: Credential;
  /** Sentences about unexpected parts of a usable answer. */
  readonly warnings: readonly string[];
}

/** How the next key of a secret is obtained. */
export interface NextKey {
  readonly by: IssuedBy;
  /** After this many attempts whose outcome is unknown no further attempt starts: each might have issued a key. */
  readonly maxUnknownOutcomes: number;
  /** Whether the issuer's list must contain the current key, because it completes the role or lifetime of the next key. */
  readonly needsCurrentKey?: boolean | undefined;
  /**
   * Obtains the key, in one attempt.
   *
   * @throws RotationError: `refused` is final; with `outcomeUnknown` the issuer might have issued a key
   */
  issue(limits: CallLimits): Promise<IssuedKey>;
  /** The error for a refusal, which depends on the outcomes of earlier attempts. */
  refusal(
    error: RotationError,
    context: { readonly answerLost: boolean; readonly now: number },
  ): RotationError;
}

/** A key at the issuer that was minted for one secret by this rotator. */
export interface OwnKey {
  readonly keyId: string;
  readonly issuedAt: number;
}

/** The keys that were minted for a secret and are neither expired nor revoked. */
export interface OwnKeys {
  /** The keys, except the management key in use, which must not be revoked. */
  readonly keys: readonly OwnKey[];
  /** The id of the management key in use. */
  readonly managementKeyId?: string | undefined;
  /** How many entries of the account's list couldn't be read. */
  readonly skipped: number;
  /** Sentences about skipped entries, and about a newer management key that the issuer rejected. */
  readonly warnings: readonly string[];
}

/** The payload of a version. */
export interface StoredPayload {
  readonly number: number;
  readonly payload: Uint8Array;
}

/** The secret with the key that mints, lists and revokes keys. */
export interface ManagementKeySecret {
  /** The secret's full name. */
  readonly name: string;
  /**
   * Reads the newest enabled version, except versions whose keys the issuer rejected.
   *
   * @param rejected the numbers of the versions whose keys the issuer rejected
   * @returns undefined if no other version is left
   */
  readonly read: (rejected: readonly number[]) => Promise<StoredPayload | undefined>;
}

export interface KeySource {
  /** The issuer's name, for messages. */
  readonly issuer: string;
  /** Where an operator gets a new credential, for messages: `a new key from ...`. */
  readonly newCredential: string;
  /**
   * Reads a payload.
   *
   * @throws RotationError PAYLOAD_INVALID, which names the problem without quoting the payload
   */
  parse(payload: Uint8Array): Credential;
  /**
   * Opens a session for the runs of one request. They share the management key, the list of keys, and connections.
   *
   * @param managementKey undefined if none is configured
   */
  open(managementKey: ManagementKeySecret | undefined, options?: SessionOptions): KeySession;
}

export interface SessionOptions {
  /** Whether the calls of the session go before the calls of all other sessions. */
  readonly isUrgent: boolean;
}

export interface KeySession {
  /** Starts to read the management key, which is read once. */
  prepare(): void;
  /**
   * How this secret's next key is obtained, or the error that blocks it. Waits for the management key only if the next key
   * needs it.
   *
   * @param current the key that applications use; undefined for a secret without versions. If the newest version can't be
   *   read, this is the key of the newest older version that can be read, or undefined
   */
  nextKey(secret: Secret, current: CurrentKey | undefined): Promise<NextKey | RotationError>;
  /** Verifies a key that this run issued. Fails for internal errors only. */
  verifyNew(credential: Credential, limits: CallLimits): Promise<KeyCheck>;
  /** Verifies the newest key. One list of keys can verify the keys of all secrets of the request. */
  verifyNewest(credential: Credential, limits: CallLimits): Promise<KeyCheck>;
  /**
   * Verifies that a revoked key is rejected everywhere: by the issuer itself, and by the host that applications use. The host
   * alone doesn't suffice, because it might be the wrong one.
   */
  verifyRejected(credential: Credential, limits: CallLimits): Promise<KeyCheck>;
  /**
   * The state of a key in the issuer's list; `unknown` without a management key. A key that is missing in a list with skipped
   * entries is `absent` only if the issuer rejects it.
   */
  listedState(
    credential: Credential,
    limits: CallLimits,
  ): Promise<'valid' | 'expired' | 'absent' | 'unknown'>;
  /** The keys that were minted for a secret, from a list that is read once per request. */
  ownKeys(secret: Secret, limits: CallLimits): Promise<OwnKeys>;
  /**
   * Revokes up to `REVOKE_BATCH` keys. A key that is already gone counts as revoked.
   *
   * @param recheck called once, right before the first revocation. It returns the keys that can still be revoked
   * @returns for each key whether it was revoked, or the error
   */
  revoke(
    keyIds: readonly string[],
    recheck: (keyIds: readonly string[]) => Promise<readonly string[]>,
    limits: CallLimits,
  ): Promise<Map<string, true | RotationError>>;
  /** Closes connections and forgets the management key. */
  close(): void;
}

/**
 * The longest attempt to issue a key, in milliseconds: the fixed deadline of a refresh in Momento's SDK. The run's deadline
 * doesn't end an attempt, because an answer that arrives later is a lost key.
 */
export const ISSUE_TIMEOUT = MINUTE;

/** How many keys one call of `revoke` takes: as many as the issuer's rate allows at once. */
export const REVOKE_BATCH = 5;
