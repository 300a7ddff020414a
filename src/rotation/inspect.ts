/** The first step of a run: reads the state of a secret, and changes nothing. */
import { RotationError, toRotationError } from '../errors';
import type { SecretName } from '../secret-name';
import { ascending, knownIssueTime, newestVersion, whyUnusable } from './policy';
import type {
  Access,
  Credential,
  CurrentKey,
  KeySource,
  NextKey,
  Permission,
  StoredPayload,
  Version,
} from './ports';
import { REPLACE_REJECTED_AGE, RETRY_FOR, type Deadlines } from './deadlines';
import type { Run } from './run';

/** The state of a secret, and how its next key is obtained. */
export interface Inspection {
  /** Unique by number, in ascending order. */
  readonly versions: readonly Version[];
  /** The version that `latest` names, whatever its state; undefined for an empty secret. */
  readonly newest?: Version | undefined;
  /** The newest enabled version that can be read, whatever it contains. */
  readonly readable?: Version | undefined;
  /** The key in `readable`; undefined if that version contains no Momento key. */
  readonly current?: CurrentKey | undefined;
  /** When the current key was issued, if that is certain. */
  readonly issuedAt?: number | undefined;
  /** When a version with the current key was first added, as far as the run looked it up. The key is at least as old. */
  readonly storedSince?: number | undefined;
  /** The enabled versions that this step couldn't read: Google's reason, by version number. */
  readonly unreadable: ReadonlyMap<number, string>;
  /** Permissions that the function lacks. */
  readonly missing: readonly Permission[];
  /** How the next key is obtained, or the blocker. A blocker isn't thrown, because a blocked run still cleans up. */
  readonly next: NextKey | RotationError;
  readonly canonicalName?: string | undefined;
  readonly warnings: readonly string[];
}

/** The versions of a secret, and the payload that applications get or should get. */
interface State {
  readonly versions: readonly Version[];
  readonly readable?: { readonly version: Version; readonly payload: Uint8Array } | undefined;
  readonly unreadable: ReadonlyMap<number, string>;
}

/** The parts of a run that a read needs. The management key's secret is read without a run. */
type StoreContext = Pick<Run, 'store' | 'deadlines' | 'clock'> & { readonly secret: SecretName };

/** @param permissions the permissions that the run might need */
export async function inspect(
  context: Run,
  permissions: readonly Permission[],
): Promise<Inspection> {
  const { secret, store, session, deadlines } = context;
  session.prepare();
  const [latest, listed, lacking] = await Promise.allSettled([
    deadlines.retry((limits) => store.access(secret, 'latest', limits)),
    deadlines.retry((limits) => store.list(secret, limits)),
    deadlines.retry((limits) => store.missingPermissions(secret, permissions, limits)),
  ]);
  // A missing secret also looks like missing permissions, so it is reported first.
  const failures = [latest, listed].flatMap((read) =>
    read.status === 'rejected' ? toRotationError(read.reason) : [],
  );
  const absent = failures.find(({ code }) => code === 'SECRET_NOT_FOUND');
  if (absent !== undefined) throw absent;
  const missing = settled(lacking);
  const isBlind = failures.length > 0 || missing.includes('access') || missing.includes('list');
  if (isBlind && missing.length > 0) throw store.permissionMissing(secret, missing);
  const access = settled(latest);
  const list = settled(listed);
  const state = await reconcile(context, access, list.versions);
  const canonicalName =
    list.canonicalName ?? (access.kind === 'payload' ? access.canonicalName : undefined);
  return { ...(await interpret(context, state, missing)), missing, canonicalName };
}

/**
 * The newest enabled version of a secret that is only read.
 *
 * @returns undefined if the secret has no enabled version
 * @throws RotationError VERSION_UNREADABLE
 */
export async function readNewestEnabled(context: StoreContext): Promise<StoredPayload | undefined> {
  const { secret, store, deadlines } = context;
  const latest = await deadlines.retry((limits) => store.access(secret, 'latest', limits));
  if (latest.kind === 'payload') return latest;
  const { versions } = await deadlines.retry((limits) => store.list(secret, limits));
  const { readable, unreadable } = await reconcile(context, latest, versions);
  const [first] = unreadable;
  if (readable === undefined && first !== undefined) throw versionUnreadable(secret, ...first);
  return readable && { number: readable.version.number, payload: readable.payload };
}

/**
 * The newest enabled version whose number isn't in `except`. Reads by number, because `latest` and lists lag.
 *
 * @param except at least one number
 * @returns undefined if no other of the newest versions can be read
 */
export async function readAnother(
  context: StoreContext,
  except: readonly number[],
): Promise<StoredPayload | undefined> {
  const { secret, store, deadlines } = context;
  let newest = Math.max(...except);
  while (await exists(context, newest + 1)) newest += 1;
  for (let number = newest; number > Math.max(0, newest - SEARCHED_VERSIONS); number -= 1) {
    if (except.includes(number)) continue;
    const access = await deadlines.retry((limits) => store.access(secret, number, limits));
    if (access.kind === 'payload') return access;
  }
  return undefined;
}

/** Whether a version with this number exists, in any state. Access by number doesn't lag, and a list does. */
export async function exists(...request: Parameters<typeof find>): Promise<boolean> {
  return (await find(...request)) !== undefined;
}

/** Accesses a version by its number, in any state. Returns undefined if the version doesn't exist. */
export async function find(
  { secret, store, deadlines }: Pick<StoreContext, 'secret' | 'store' | 'deadlines'>,
  number: number,
  retrying: Parameters<Deadlines['retry']>[1] = {},
): Promise<Access | undefined> {
  const access = await deadlines.retry(
    (limits) => store.access(secret, number, limits).catch(asCorrupt),
    retrying,
  );
  if (access.kind === 'absent') return undefined;
  // IAM also denies access to a number that no version has.
  const isCertain = access.kind === 'payload' || access.reason === CORRUPT;
  const get = (): Promise<Version | undefined> =>
    deadlines.retry((limits) => store.get(secret, number, limits), retrying);
  return isCertain || (await get()) !== undefined ? access : undefined;
}

const CORRUPT = 'PAYLOAD_CORRUPT';

/** A damaged payload shows that the version exists. */
function asCorrupt(thrown: unknown): Access {
  if (toRotationError(thrown).code === CORRUPT) return { kind: 'not_readable', reason: CORRUPT };
  throw thrown;
}

/**
 * Lists and `latest` are eventually consistent, so each can lag behind the other. Access by number doesn't lag. A version
 * that was accessed is enabled, even if the list shows another state. The newest version is the highest one that `latest` or
 * the list shows.
 *
 * If the list shows a version as enabled and the access fails, the version is either disabled or unreadable. Secret Manager's
 * error is the same, so the run gets the version's state. The search for a readable version ends at an unreadable one: an
 * older version contains an older key and a used refresh token.
 *
 * https://cloud.google.com/secret-manager/docs/overview#consistency
 */
async function reconcile(
  { secret, store, clock, deadlines }: StoreContext,
  latest: Access,
  listed: readonly Version[],
): Promise<State> {
  const versions = new Map(listed.map((version) => [version.number, version]));
  const unreadable = new Map<number, string>();
  if (latest.kind === 'payload') {
    const { number } = latest;
    // A version that no list shows yet was added moments ago.
    const known = versions.get(number) ?? { number, createdAt: clock.now(), unlisted: true };
    versions.set(number, { ...known, state: 'ENABLED' });
  }
  const result = (readable?: State['readable']): State => ({
    versions: ascending([...versions.values()]),
    readable,
    unreadable,
  });
  for (;;) {
    const candidate = ascending([...versions.values()]).findLast(
      ({ state }) => state === 'ENABLED',
    );
    if (candidate === undefined) return result();
    const { number } = candidate;
    const access =
      latest.kind === 'payload' && latest.number === number
        ? latest
        : await deadlines.retry((limits) => store.access(secret, number, limits));
    if (access.kind === 'payload') return result({ version: candidate, payload: access.payload });
    if (access.kind === 'absent') {
      versions.delete(number);
      continue;
    }
    const actual = await getVersion({ secret, store, deadlines }, candidate);
    if (actual === undefined) versions.delete(number);
    else versions.set(number, actual);
    if (actual?.state !== 'ENABLED') continue;
    unreadable.set(number, access.reason);
    return result();
  }
}

/** Gets a version. Without the permission for it, the version counts as unchanged: an enabled version prevents revocations. */
export async function getVersion(
  { secret, store, deadlines }: Omit<StoreContext, 'clock'>,
  version: Version,
): Promise<Version | undefined> {
  try {
    return await deadlines.retry((limits) => store.get(secret, version.number, limits));
  } catch (thrown) {
    if (toRotationError(thrown).code === 'PERMISSION_MISSING') return version;
    throw thrown;
  }
}

async function interpret(
  context: Run,
  { versions, readable, unreadable }: State,
  missing: readonly Permission[],
): Promise<Omit<Inspection, 'missing' | 'canonicalName'>> {
  const { secret, store, keys, session } = context;
  const newest = newestVersion(versions);
  const credential = readable && parsePayload(keys, readable.payload);
  const current =
    readable === undefined || credential === undefined || credential instanceof RotationError
      ? undefined
      : { version: readable.version, credential };
  const next = async (): Promise<Inspection['next']> => {
    if (missing.length > 0) return store.permissionMissing(secret, missing);
    if (credential instanceof RotationError) return credential;
    const [unread] = unreadable;
    if (unread !== undefined) {
      // The next payload must keep the format for applications, and only an older version shows the format.
      const older = await readableBefore(context, versions, unread[0]);
      const nextKey = await session.nextKey(secret, older);
      // A refresh would need the refresh token of an older version, which was already used.
      const isMinted = !(nextKey instanceof RotationError) && nextKey.by === 'mint';
      return isMinted && !(await isReplacementUnreadable(context, versions, unread[0]))
        ? nextKey
        : versionUnreadable(secret, ...unread);
    }
    if (newest === undefined && secret.role === undefined) return noVersion(secret);
    if (newest !== undefined && current === undefined) return noEnabledVersion(secret);
    return session.nextKey(secret, current);
  };
  const inspection = {
    versions,
    newest,
    readable: readable?.version,
    current,
    issuedAt: current && knownIssueTime(current, secret),
    storedSince: current && (await storedSince(context, versions, current)),
    unreadable,
    next: await next(),
    warnings: [] as string[],
  };
  if (newest !== undefined && newest.number !== readable?.version.number) {
    inspection.warnings.push(
      `version ${newest.number}, the newest, ${whyUnusable({ ...inspection, missing }, newest)}: applications that read ` +
        `latest get an error until a version is added${readable === undefined ? '' : `; the rotator uses version ${readable.version.number} instead`}`,
    );
  }
  return inspection;
}

/** How many older versions a run searches for the current key, or for a key that can be read. */
const SEARCHED_VERSIONS = 5;

/** The newest key in an older version that can be read. */
async function readableBefore(
  { secret, store, keys, deadlines }: Run,
  versions: readonly Version[],
  number: number,
): Promise<CurrentKey | undefined> {
  const older = versions.filter((each) => each.number < number && each.state === 'ENABLED');
  for (const version of older.slice(-SEARCHED_VERSIONS).reverse()) {
    const access = await deadlines
      .retry((limits) => store.access(secret, version.number, limits))
      .catch(() => undefined);
    const credential = credentialIn(keys, access);
    if (credential !== undefined) return { version, credential };
  }
  return undefined;
}

/**
 * Whether the version before this one is unreadable, too. Then this version probably replaced it without success. If IAM hides
 * every version from the function, each run would otherwise add another version.
 */
async function isReplacementUnreadable(
  { secret, store, clock, deadlines }: Run,
  versions: readonly Version[],
  number: number,
): Promise<boolean> {
  const enabled = versions.filter(({ state }) => state === 'ENABLED');
  const newest = enabled.find((version) => version.number === number);
  const before = enabled.findLast((version) => version.number < number);
  if (newest === undefined || before === undefined) return false;
  const access = await deadlines.retry((limits) => store.access(secret, before.number, limits));
  if (access.kind !== 'not_readable') return false;
  return access.isDenied === true || clock.now() - newest.createdAt < REPLACE_REJECTED_AGE;
}

/**
 * When a version with the current key was first added: an operator can store an old key again. Older versions are read only if
 * the renewal time depends on it, because it is a share of a lifetime that isn't known.
 */
async function storedSince(
  { secret, store, keys, deadlines, policy }: Run,
  versions: readonly Version[],
  current: CurrentKey,
): Promise<number> {
  const { createdAt } = current.version;
  const { expiresAt, fingerprint } = current.credential;
  const isKnown = expiresAt === Infinity || knownIssueTime(current, secret) !== undefined;
  if (isKnown || policy.renewBefore?.share === undefined) return createdAt;
  const older = versions
    .filter(({ number, state }) => number < current.version.number && state === 'ENABLED')
    .slice(-SEARCHED_VERSIONS);
  const accesses = await Promise.all(
    older.map(({ number }) =>
      deadlines
        .retry((limits) => store.access(secret, number, limits), { quotaRetryFor: RETRY_FOR })
        .catch(() => undefined),
    ),
  );
  const same = older.find(
    (_, index) => credentialIn(keys, accesses[index])?.fingerprint === fingerprint,
  );
  return Math.min(createdAt, same?.createdAt ?? createdAt);
}

/** The credential in a version that might not be readable, or might contain something else. */
export function credentialIn(keys: KeySource, access: Access | undefined): Credential | undefined {
  if (access?.kind !== 'payload') return undefined;
  const credential = parsePayload(keys, access.payload);
  return credential instanceof RotationError ? undefined : credential;
}

export function parsePayload(keys: KeySource, payload: Uint8Array): Credential | RotationError {
  try {
    return keys.parse(payload);
  } catch (thrown) {
    return toRotationError(thrown);
  }
}

function noVersion({ name }: SecretName): RotationError {
  return new RotationError('NO_VERSION', {
    problem: `${name} has no version.`,
    action:
      'Store the first credential. Or configure MANAGEMENT_KEY and a role for this secret: then the rotator mints its ' +
      'first key.',
  });
}

function noEnabledVersion({ name }: SecretName): RotationError {
  return new RotationError('NO_ENABLED_VERSION', {
    problem: `${name} has no enabled version.`,
    action:
      'If the newest version contains a good credential, enable it. Otherwise store a new credential as a new version.',
  });
}

function versionUnreadable({ name }: SecretName, number: number, reason: string): RotationError {
  return new RotationError('VERSION_UNREADABLE', {
    problem: `Version ${number} of ${name} is enabled, and the function can't read it (${reason}).`,
    action:
      'If the secret is encrypted with a Cloud KMS key, enable the version of that key. If an IAM condition hides the ' +
      'version, change the condition. Or store a new credential.',
  });
}

function settled<T>(result: PromiseSettledResult<T>): T {
  if (result.status === 'rejected') throw result.reason;
  return result.value;
}
