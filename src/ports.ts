/** What a rotation needs of the outside: a store of secrets, and an issuer of credentials. */
import type { Credential } from './credential';
import { RotationError } from './errors';
import type { Version } from './renewal';
import type { SecretName } from './secret-name';

export type Permission =
  `secretmanager.versions.${'access' | 'list' | 'add' | 'disable' | 'destroy'}`;

/** What a rotation needs of Secret Manager. Every method throws RotationErrors. */
export interface SecretStore {
  /** Undefined if there is no such version, or it is not enabled. */
  access(
    secret: SecretName,
    version: number | 'latest',
  ): Promise<{ readonly number: number; readonly payload: Uint8Array } | undefined>;
  list(secret: SecretName): Promise<Version[]>;
  /** Which of these permissions the function lacks on the secret. */
  missingPermissions(secret: SecretName, permissions: readonly Permission[]): Promise<Permission[]>;
  add(secret: SecretName, payload: Uint8Array): Promise<Version>;
  /** False if the version is not any more what it was when it was listed; nothing was changed then. */
  disable(secret: SecretName, version: Version): Promise<boolean>;
  /** False as for `disable`. */
  destroy(secret: SecretName, version: Version): Promise<boolean>;
}

/** What Momento says of a key; `unclear` when it gave no answer about the key itself. */
export type Verdict = 'accepted' | 'rejected' | 'unclear';

/** Where new credentials come from. */
export interface Issuer {
  /** Throws, without asking anybody, if no credential can be issued from this one. */
  check(credential: Credential): void;
  /**
   * Gets a successor of the credential.
   *
   * @throws RotationError REFRESH_REFUSED is final; after MOMENTO_UNAVAILABLE and ISSUED_CREDENTIAL_INVALID a
   *   successor may exist whose answer was lost
   */
  issue(credential: Credential): Promise<Credential>;
  verify(credential: Credential): Promise<Verdict>;
}

/** Which role grants which permission (https://cloud.google.com/secret-manager/docs/access-control). */
export const ROLES: Readonly<Record<Permission, string>> = {
  'secretmanager.versions.access': 'roles/secretmanager.secretAccessor',
  'secretmanager.versions.list': 'roles/secretmanager.secretVersionManager',
  'secretmanager.versions.add': 'roles/secretmanager.secretVersionManager',
  'secretmanager.versions.disable': 'roles/secretmanager.secretVersionManager',
  'secretmanager.versions.destroy': 'roles/secretmanager.secretVersionManager',
};

/** The error for permissions that the function lacks on a secret; it names the roles that hold them. */
export function permissionMissing(
  secret: SecretName,
  permissions: readonly Permission[],
): RotationError {
  const roles = [...new Set(permissions.map((permission) => ROLES[permission]))];
  return new RotationError(
    'PERMISSION_MISSING',
    `The function's service account lacks ${permissions.join(', ')} on ${secret.name}. Nothing was changed. Grant it ` +
      `${roles.join(' and ')} on this secret (and see that the secret exists: Secret Manager may not tell the two apart).`,
  );
}
