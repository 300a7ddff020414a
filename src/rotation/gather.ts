/** The first step: everything that can be known about a secret before anything is done, in one round trip. */
import { RotationError, toRotationError } from '../errors';
import type { SecretName } from '../secret-name';
import type { Credential, KeySource, Permission, StoredPayload, Version } from './ports';
import type { Run } from './run';
import type { Found } from './steps';
import { newestEnabledVersion, newestVersion } from './versions';

/** The versions of a secret, and the payload that its readers should be using. */
interface State {
  readonly versions: readonly Version[];
  /** The version that was added last, whatever its state; unset for an empty secret. */
  readonly newest?: Version;
  /** The newest enabled version: the newest, unless somebody disabled or destroyed that. */
  readonly enabled?: Version & { readonly payload: Uint8Array };
}

type Looking = Pick<Run, 'secret' | 'store' | 'keys' | 'session' | 'clock' | 'budget'>;

/** @param permissions those that the run may need; none for a look that changes nothing */
export async function gather(run: Looking, permissions: readonly Permission[]): Promise<Found> {
  const { secret, store, session, budget } = run;
  session.prepare();
  const [latest, listed, lacked] = await Promise.allSettled([
    budget.patiently(() => store.access(secret, 'latest')),
    budget.patiently(() => store.list(secret)),
    permissions.length === 0
      ? []
      : budget.patiently(() => store.missingPermissions(secret, permissions)),
  ]);
  // Nobody has a permission on a secret that does not exist, so that has to be told first.
  const failures = [latest, listed].flatMap((read) =>
    read.status === 'rejected' ? toRotationError(read.reason) : [],
  );
  const absent = failures.find(({ code }) => code === 'SECRET_NOT_FOUND');
  if (absent !== undefined) throw absent;
  const missing = settled(lacked);
  if (failures.length > 0 && missing.length > 0) throw store.permissionMissing(secret, missing);
  return judge(run, await reconcile(run, settled(latest), settled(listed)), missing);
}

/** The payload of the newest enabled version of a secret that is only read. */
export async function readNewestEnabled(
  run: Pick<Run, 'store' | 'clock' | 'budget'> & { readonly secret: SecretName },
): Promise<Uint8Array | undefined> {
  const { secret, store, budget } = run;
  const latest = await budget.patiently(() => store.access(secret, 'latest'));
  if (latest !== undefined) return latest.payload;
  const listed = await budget.patiently(() => store.list(secret));
  return (await reconcile(run, undefined, listed)).enabled?.payload;
}

/**
 * Lists and `latest` are eventually consistent, so each may lag behind the other; access by number is not. What was
 * accessed is enabled, whatever a list says, and the newest version is the newest that either knows of.
 */
async function reconcile(
  {
    secret,
    store,
    clock,
    budget,
  }: Pick<Run, 'store' | 'clock' | 'budget'> & {
    readonly secret: SecretName;
  },
  latest: StoredPayload | undefined,
  listed: readonly Version[],
): Promise<State> {
  let versions = listed;
  if (latest !== undefined) {
    const { number } = latest;
    const known = versions.find((version) => version.number === number);
    // A version that no list shows yet was added moments ago.
    const accessed = known ?? { number, createdAt: clock.now(), unlisted: true };
    versions = [
      ...versions.filter((version) => version !== known),
      { ...accessed, state: 'ENABLED' },
    ];
  }
  for (;;) {
    const newest = newestVersion(versions);
    const enabled = newestEnabledVersion(versions);
    if (newest === undefined) return { versions };
    if (enabled === undefined) return { versions, newest };
    const accessed =
      enabled.number === latest?.number
        ? latest
        : await budget.patiently(() => store.access(secret, enabled.number));
    if (accessed !== undefined) {
      return { versions, newest, enabled: { ...enabled, payload: accessed.payload } };
    }
    versions = versions.map((version) =>
      version === enabled ? { ...version, state: 'DISABLED' } : version,
    );
  }
}

async function judge(
  { secret, store, keys, session }: Looking,
  { versions, newest, enabled }: State,
  missing: readonly Permission[],
): Promise<Found> {
  const credential = enabled && read(keys, enabled.payload);
  const current =
    enabled === undefined || credential === undefined || credential instanceof RotationError
      ? undefined
      : { version: enabled, credential };
  const next = (): Found['next'] | Promise<Found['next']> => {
    if (missing.length > 0) return store.permissionMissing(secret, missing);
    if (credential instanceof RotationError) return credential;
    if (newest === undefined && secret.role === undefined) return noVersion(secret);
    if (newest !== undefined && current === undefined) return noEnabledVersion(secret);
    return session.renewal(secret, current);
  };
  return {
    versions,
    missing,
    next: await next(),
    ...(newest && { newest }),
    ...(enabled && { enabled }),
    ...(current && { current }),
    ...(newest?.number !== enabled?.number && { warning: readersFail(newest, enabled) }),
  };
}

function read(keys: KeySource, payload: Uint8Array): Credential | RotationError {
  try {
    return keys.parse(payload);
  } catch (thrown) {
    return toRotationError(thrown);
  }
}

function readersFail(newest: Version | undefined, enabled: Version | undefined): string {
  const problem = `version ${newest?.number ?? 0} is the newest but ${newest?.state.toLowerCase() ?? 'gone'}: readers of latest fail until a version is added`;
  return enabled === undefined ? problem : `${problem}; version ${enabled.number} is used instead`;
}

function noVersion({ name }: SecretName): RotationError {
  return new RotationError(
    'NO_VERSION',
    `${name} has no version, so its readers get nothing. Store the first credential, or give the secret a role, so that ` +
      "its first key is minted (README, 'The secret').",
  );
}

function noEnabledVersion({ name }: SecretName): RotationError {
  return new RotationError(
    'NO_ENABLED_VERSION',
    `${name} has no enabled version, so its readers get nothing. Enable the newest version that holds a good credential, ` +
      'or store a new one.',
  );
}

function settled<T>(result: PromiseSettledResult<T>): T {
  if (result.status === 'rejected') throw result.reason;
  return result.value;
}
