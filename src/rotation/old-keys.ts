/** The old keys that a compromise response has found, and whether the issuer rejects all of them. */
import { isoTime, MINUTE } from '../duration';
import { RotationError } from '../errors';
import type { Reading } from './key-usage';
import type { Credential, CurrentKey } from './ports';
import type { CompromisedKey } from './result';
import type { Run } from './run';

/** The issuer's clock and the clock of the request can differ by this much. */
const ISSUER_CLOCK_DIFFERENCE = 5 * MINUTE;

/** A key that the response revokes. */
interface OldKey {
  readonly keyId?: string | undefined;
  /** Undefined if no version that can be read contains the key. */
  readonly credential?: Credential | undefined;
  isRevoked: boolean;
  rejectedAt?: number | undefined;
  /** Why the key can't be revoked. */
  notRevoked?: string | undefined;
}

/** The old keys that one response has found. A restart of the response keeps them. */
export class OldKeys {
  /** The last reading of each version. */
  readonly readings = new Map<number, Reading>();
  /** The ids of all keys that the response revoked. */
  readonly revoked = new Set<string>();
  readonly warnings: string[] = [];
  /** How many entries of the issuer's list couldn't be read. */
  skipped = 0;
  /** Why the last attempt to list or to revoke keys failed. */
  error: RotationError | undefined;
  /** Whether an earlier attempt of this response added the new key. */
  isRepeat = false;
  /**
   * Whether the issuer lists all keys of the secret, because the rotator mints them. Otherwise the old keys are known only from
   * the versions.
   */
  areListed = false;
  readonly #since: number | undefined;
  readonly #keys = new Map<string, OldKey>();

  /** @param since the time of the request, if it is known */
  constructor(since?: number) {
    this.#since = since;
  }

  get all(): OldKey[] {
    return [...this.#keys.values()];
  }

  /** The keys that the issuer isn't known to reject. */
  get open(): OldKey[] {
    return this.all.filter(({ rejectedAt }) => rejectedAt === undefined);
  }

  /** The numbers of the disabled versions, whose keys couldn't be read. */
  get notRead(): string[] {
    const readings = [...this.readings.values()];
    return readings.flatMap(({ kind, number }) => (kind === 'disabled' ? String(number) : []));
  }

  get #unread(): Reading[] {
    return [...this.readings.values()].filter(
      ({ kind }) => kind === 'unreadable' || kind === 'invalid',
    );
  }

  /** Whether another round might still revoke a key, or find that the issuer rejects it. */
  get canChange(): boolean {
    return this.error?.retryable === true || this.open.some((key) => !this.#isFinal(key));
  }

  /** Whether a later attempt might read a version that couldn't be read yet. */
  get canReadMore(): boolean {
    return this.#unread.some(canReadLater);
  }

  /**
   * Whether a key is a known old key, was issued before the request, or is also in another version. An operator can store the
   * payload of a disabled version again. A disabled version can't be read, so only the time of issue shows that the key is old.
   */
  isOld({ version, credential }: CurrentKey): boolean {
    const isElsewhere = (number: number): boolean => number !== version.number;
    const { issuedAt = Infinity } = credential;
    return (
      this.#keys.has(nameOf(credential)) ||
      issuedAt + ISSUER_CLOCK_DIFFERENCE < (this.#since ?? 0) ||
      this.#versionsWith(credential).some(isElsewhere)
    );
  }

  /** Whether the issuer rejects a key, as far as the response verified it. */
  isRejected(credential: Credential): boolean {
    return this.#keys.get(nameOf(credential))?.rejectedAt !== undefined;
  }

  #versionsWith({ fingerprint }: Credential): number[] {
    return [...this.readings.values()].flatMap((reading) =>
      reading.kind === 'key' && reading.credential.fingerprint === fingerprint
        ? reading.number
        : [],
    );
  }

  /** Adds the key of every version that was read, except the newest key. */
  addAllExcept(newest: CurrentKey | undefined): void {
    for (const reading of this.readings.values()) {
      if (reading.kind === 'key') this.add(reading.credential);
    }
    if (newest !== undefined) this.#keys.delete(nameOf(newest.credential));
  }

  add(credential: Credential): void {
    const known = this.#keys.get(nameOf(credential));
    const { keyId } = credential;
    this.#keys.set(nameOf(credential), { isRevoked: false, ...known, keyId, credential });
  }

  /**
   * Adds keys from the issuer's list. If a key is known only from an earlier list, and this list doesn't contain it, the key
   * counts as rejected.
   *
   * @param skipped how many entries of the list couldn't be read: each could be one of the keys
   */
  addListed(keyIds: ReadonlySet<string>, skipped: number, now: number): void {
    this.skipped = skipped;
    for (const keyId of keyIds) {
      if (!this.#keys.has(keyId)) this.#keys.set(keyId, { keyId, isRevoked: false });
    }
    if (skipped > 0) return;
    for (const key of this.open) {
      if (key.credential === undefined && !keyIds.has(key.keyId ?? '')) key.rejectedAt = now;
    }
  }

  /**
   * The numbers of the older versions that step 4 disables. A version that a later attempt must read stays enabled. If the
   * issuer lists the keys, a version whose key might still work stays enabled, too: a later attempt must find that key to
   * contain it. Scheduled runs disable the version after the grace period.
   */
  versionsToDisable(newest: number): number[] {
    const isDue = (reading: Reading): boolean => {
      if (reading.kind !== 'key') {
        return !this.areListed && this.#unread.includes(reading) && !canReadLater(reading);
      }
      const key = this.#keys.get(nameOf(reading.credential));
      if (key?.rejectedAt !== undefined) return true;
      return key === undefined || (!this.areListed && this.#isFinal(key));
    };
    return [...this.readings.values()].flatMap((reading) =>
      reading.number < newest && isDue(reading) ? reading.number : [],
    );
  }

  /** @returns undefined if the issuer rejects every old key, and the response can't have missed a key */
  whyNotContained({ secret, keys: { issuer } }: Run): RotationError | undefined {
    const { open, skipped, error } = this;
    const canRetry = this.canChange || this.canReadMore;
    const unread = this.#unread;
    // An earlier attempt might have disabled versions whose keys still work.
    const disabled = this.isRepeat && !this.areListed ? this.notRead : [];
    const unknown = open.length + unread.length + disabled.length + skipped;
    if (unknown === 0 && error === undefined) return undefined;
    const problem = [
      `${issuer} might still accept old keys of ${secret.name}.`,
      ...this.stillWorking(),
      ...(unread.length > 0
        ? [`The keys in version ${unread.map(({ number }) => number).join(', ')} couldn't be read.`]
        : []),
      ...(disabled.length > 0
        ? [`Version ${disabled.join(', ')} is disabled, so its key couldn't be read.`]
        : []),
      ...(skipped > 0 ? [`${skipped} entries of the list of keys couldn't be read.`] : []),
      ...(error === undefined ? [] : [`A call failed with ${error.code}.`]),
    ].join(' ');
    const action = canRetry
      ? 'Wait: Pub/Sub repeats a message by itself. Over HTTP, send the request again, and set `since` to the time of the first request.'
      : `Revoke the keys that still work at ${issuer}, or wait until they expire. The page docs/operate/incident-response.md describes each case.`;
    return new RotationError(canRetry ? 'NOT_CONTAINED_YET' : 'NOT_CONTAINED', { problem, action });
  }

  /** A sentence that names the open keys and their versions, if there are any. */
  stillWorking(): string[] {
    const names = this.open.map(({ keyId, credential, notRevoked }) => {
      const name = keyId ?? credential?.fingerprint ?? '';
      const versions = credential === undefined ? [] : this.#versionsWith(credential);
      const place = versions.length > 0 ? ` in version ${versions.join(' and ')}` : '';
      return `${name}${place}${notRevoked === undefined ? '' : ` (${notRevoked})`}`;
    });
    if (names.length === 0) return [];
    const more = names.length > 10 ? `, and ${names.length - 10} more` : '';
    return [`These keys might still work: ${names.slice(0, 10).join(', ')}${more}.`];
  }

  #isFinal({ rejectedAt, notRevoked, isRevoked }: OldKey): boolean {
    const isRefused = this.error?.retryable === false && !isRevoked;
    return rejectedAt !== undefined || notRevoked !== undefined || isRefused;
  }
}

function nameOf({ keyId, fingerprint }: Credential): string {
  return keyId ?? fingerprint;
}

function canReadLater(reading: Reading): boolean {
  return reading.kind === 'unreadable' && reading.retryable;
}

/** A key as the result reports it. */
export function toCompromisedKey({
  keyId,
  credential,
  rejectedAt,
  notRevoked,
}: OldKey): CompromisedKey {
  const name = keyId === undefined ? { fingerprint: credential?.fingerprint } : { keyId };
  if (rejectedAt !== undefined) return { ...name, rejectedAt: isoTime(rejectedAt) };
  const expiry = ({ expiresAt }: Credential): string =>
    expiresAt === Infinity ? 'never' : isoTime(expiresAt);
  return { ...name, expiresAt: credential && expiry(credential), notRevoked };
}
