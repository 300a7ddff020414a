/**
 * What a rotation needs of the outside: a store of secrets, and a source of keys. Types only. Every method throws
 * RotationErrors. Times and lengths of time are in milliseconds, times since the epoch.
 */
import type { RotationError } from '../errors';
import type { SecretName } from '../secret-name';

/** A secret that is rotated, and how its keys are to be. */
export interface Secret extends SecretName {
  /** The role of keys that are minted for it. */
  readonly role?: string;
  /** How long keys that are minted for it live. */
  readonly lifetimeMs?: number;
  /** The form of the first payload, where there is none yet to go by. */
  readonly payload: 'json' | 'key';
}

/** A secret version. */
export interface Version {
  readonly number: number;
  readonly state: 'ENABLED' | 'DISABLED' | 'DESTROYED';
  readonly createdAt: number;
  readonly etag?: string;
  /** Set while the store delays a destroy that somebody asked for. */
  readonly destroyScheduled?: boolean;
  /** Set for a version that was accessed but that no list has shown yet. */
  readonly unlisted?: boolean;
}

export interface StoredPayload {
  readonly number: number;
  readonly payload: Uint8Array;
}

/** What the function may have to do with a secret. */
export type Permission = 'access' | 'list' | 'add' | 'disable' | 'destroy';

export interface SecretStore {
  /** Undefined if there is no such version, or it is not enabled. */
  access(secret: SecretName, version: number | 'latest'): Promise<StoredPayload | undefined>;
  /** Whether there is a version of this number, in whatever state; unlike lists, without any lag. */
  exists(secret: SecretName, version: number): Promise<boolean>;
  list(secret: SecretName): Promise<Version[]>;
  /** Which of these permissions the function lacks on the secret. */
  missingPermissions(secret: SecretName, permissions: readonly Permission[]): Promise<Permission[]>;
  /** The error for that: it names what has to be granted. */
  permissionMissing(secret: SecretName, permissions: readonly Permission[]): RotationError;
  /** @throws RotationError its `mayHaveHadEffect` says that the version may have been added all the same */
  add(secret: SecretName, payload: Uint8Array): Promise<Version>;
  /** False if the version is not any more what it was when it was listed; nothing was changed then. */
  disable(secret: SecretName, version: Version): Promise<boolean>;
  /** False as for `disable`. */
  destroy(secret: SecretName, version: Version): Promise<boolean>;
}

/** What a payload holds, as far as a rotation has to know. Printing one shows no secret. */
export interface Credential {
  /** Names the key where nothing secret may be written: the first 8 hex digits of its SHA-256. */
  readonly fingerprint: string;
  /** The key's id at its issuer, which is no secret; keys of older kinds have none. */
  readonly keyId?: string;
  /** Infinity for a key without an expiry. */
  readonly expiresAt: number;
  /** When the key was issued, where the payload tells. */
  readonly issuedAt?: number;
  /** The payload of a version. */
  serialize(): Uint8Array;
}

/** `refresh`: the key's own refresh token gets its successor. `mint`: a management key makes it. */
export type IssuedBy = 'refresh' | 'mint';

/** What the issuer says of a key; `unclear` when it gave no answer about the key itself. */
export type Verdict = 'accepted' | 'rejected' | 'unclear';

/** The key that readers should be using: that of the newest enabled version. */
export interface CurrentKey {
  readonly version: Version;
  readonly credential: Credential;
}

/** How the successor of a key is got. */
export interface Renewal {
  readonly by: IssuedBy;
  /** How many answers may be lost until no further try is made: each may have spent a token, or left a key behind. */
  readonly lostAnswers: number;
  /**
   * Gets the successor, in one try.
   *
   * @throws RotationError `refused` is final; after one that `mayHaveHadEffect` a successor may exist that nobody has
   */
  issue(): Promise<Credential>;
  /** The error for a refusal, with who has to do what, and by when. `answerLost`: an earlier try may have succeeded. */
  refusal(error: RotationError, told: { answerLost: boolean; now: number }): RotationError;
}

/** A key at the issuer that was minted for one secret by this rotator. */
export interface OwnKey {
  readonly keyId: string;
  readonly issuedAt: number;
}

/** Where keys come from. */
export interface KeySource {
  /** The issuer's name, for messages. */
  readonly vendor: string;
  /** Where a person gets a new credential, for messages: `a new key from ...`. */
  readonly remedy: string;
  /**
   * Reads a payload.
   *
   * @throws RotationError PAYLOAD_INVALID, which says what is wrong without quoting any of it
   */
  parse(payload: Uint8Array): Credential;
  /**
   * What the runs of one request share: management key, list of keys, connections.
   *
   * @param managementKey reads the payload of the management key, where one is configured
   */
  open(managementKey: (() => Promise<Uint8Array>) | undefined): KeySession;
}

export interface KeySession {
  /** Begins to read the management key, which is read once. */
  prepare(): void;
  /** How this secret's next key is got, or what stands in the way. Waits for the management key only where it takes one. */
  renewal(secret: Secret, current: CurrentKey | undefined): Promise<Renewal | RotationError>;
  verify(credential: Credential): Promise<Verdict>;
  /**
   * The keys that were minted for a secret and have not ended, from a list that is read once. Without the management key
   * that is in use, which must not end while others work with it.
   */
  ownKeys(secret: Secret): Promise<readonly OwnKey[]>;
  /**
   * Ends a key. One that is already gone counts as ended.
   *
   * @param confirm asked when nothing is waited for any more; if it says no, the key is left alone
   * @returns whether it is at an end
   */
  revoke(keyId: string, confirm?: () => Promise<boolean>): Promise<boolean>;
  /** Lets connections and the management key go. */
  close(): void;
}
