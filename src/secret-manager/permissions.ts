import { RotationError } from '../errors';
import type { Permission } from '../rotation/ports';
import type { SecretName } from '../secret-name';

/** Which role grants which permission of a secret that is rotated (https://cloud.google.com/secret-manager/docs/access-control). */
export const ROLES: Readonly<Record<Permission, string>> = {
  access: 'roles/secretmanager.secretAccessor',
  list: 'roles/secretmanager.secretVersionManager',
  add: 'roles/secretmanager.secretVersionManager',
  disable: 'roles/secretmanager.secretVersionManager',
  destroy: 'roles/secretmanager.secretVersionManager',
};

/** Lists versions, and changes none: enough for a management key that is only read. */
export const VIEWER = 'roles/secretmanager.viewer';

/** What Google calls it. */
export function iamName(permission: Permission): string {
  return `secretmanager.versions.${permission}`;
}

/** The error for permissions that the function lacks on a secret; it names the roles that hold them. */
export function permissionMissing(
  secret: SecretName,
  permissions: readonly Permission[],
): RotationError {
  const roles = [...new Set(permissions.map((permission) => ROLES[permission]))];
  const isRead = permissions.every(
    (permission) => permission === 'access' || permission === 'list',
  );
  const less =
    isRead && permissions.includes('list') ? `; to list a management key, ${VIEWER} will do` : '';
  return new RotationError(
    'PERMISSION_MISSING',
    `The function's service account lacks ${permissions.map(iamName).join(', ')} on ${secret.name}. Readers keep the newest version. ` +
      `Grant it ${roles.join(' and ')} on this secret${less} (and see that the secret exists: Secret Manager may not tell the two apart).`,
  );
}
