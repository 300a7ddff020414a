import { auth } from '@gomomento/generated-types';
import { permission_messages } from '@gomomento/generated-types/dist/permissionmessages';
import { status } from '@grpc/grpc-js';
import { Refusal } from './grpc-host';

type Request = InstanceType<typeof auth.auth._GenerateApiTokenRequest>;
type PermissionsType = permission_messages.PermissionsType;

const { CacheRole, TopicRole } = permission_messages;

/** One permission of a generated key. */
export interface Grant {
  readonly to: 'cache' | 'topic';
  readonly role: 'read-write' | 'read' | 'write';
  /** Undefined for all caches. */
  readonly cache: string | undefined;
}

/** The properties of a key that a super user key generates. */
export interface KeyProperties {
  readonly lifetimeSeconds: number;
  readonly grants: readonly Grant[];
}

/** Reads a request for a key that expires, for caches and all topics in them. Refuses all other requests. */
export function readKeyProperties(request: Request): KeyProperties {
  if (request.has_never) {
    throw new Refusal(status.UNIMPLEMENTED, 'Keys that never expire are not implemented');
  }
  const lifetimeSeconds = request.has_expires ? request.expires.valid_for_seconds : 0;
  if (lifetimeSeconds <= 0) throw invalid('The expiry is missing, or not in the future');
  if (!request.has_permissions || request.permissions.has_super_user) {
    throw new Refusal(status.UNIMPLEMENTED, 'Only explicit permissions are implemented');
  }
  const grants = request.permissions.explicit.permissions.map(readGrant);
  if (grants.length === 0) throw invalid('There are no permissions');
  return { lifetimeSeconds, grants };
}

/** Whether the grants allow this access to the items of a cache. */
export function mayUse(grants: readonly Grant[], cache: string, access: 'read' | 'write'): boolean {
  return grants.some(
    (grant) =>
      grant.to === 'cache' &&
      grant.role.includes(access) &&
      (grant.cache === undefined || grant.cache === cache),
  );
}

const CACHE_ROLES = new Map<number, Grant['role']>([
  [CacheRole.CacheReadWrite, 'read-write'],
  [CacheRole.CacheReadOnly, 'read'],
  [CacheRole.CacheWriteOnly, 'write'],
]);
const TOPIC_ROLES = new Map<number, Grant['role']>([
  [TopicRole.TopicReadWrite, 'read-write'],
  [TopicRole.TopicReadOnly, 'read'],
  [TopicRole.TopicWriteOnly, 'write'],
]);

function readGrant(permission: PermissionsType): Grant {
  if (permission.has_cache_permissions) {
    const { cache_permissions: sent } = permission;
    const role = CACHE_ROLES.get(sent.role);
    if (role === undefined) throw invalid('A cache permission has no role');
    return { to: 'cache', role, cache: cacheOf(sent) };
  }
  if (permission.has_topic_permissions && permission.topic_permissions.has_all_topics) {
    const { topic_permissions: sent } = permission;
    const role = TOPIC_ROLES.get(sent.role);
    if (role === undefined) throw invalid('A topic permission has no role');
    return { to: 'topic', role, cache: cacheOf(sent) };
  }
  throw new Refusal(status.UNIMPLEMENTED, 'Only caches and all their topics are implemented');
}

function cacheOf(
  sent: PermissionsType['cache_permissions'] | PermissionsType['topic_permissions'],
): string | undefined {
  if (sent.has_all_caches) return undefined;
  const name = sent.has_cache_selector ? sent.cache_selector.cache_name : '';
  if (name === '') throw invalid('A permission names no cache');
  return name;
}

function invalid(details: string): Refusal {
  return new Refusal(status.INVALID_ARGUMENT, details);
}
