/** Momento as the source of keys. The runs of one request share the management key, the list of keys and connections. */
import type { Clock } from '../clock';
import { RotationError, toRotationError } from '../errors';
import { RateLimiter } from '../rate-limiter';
import type {
  CallLimits,
  CurrentKey,
  KeyCheck,
  KeySession,
  KeySource,
  SessionOptions,
  ManagementKeySecret,
  NextKey,
  OwnKeys,
  Secret,
  Credential as StoredCredential,
} from '../rotation/ports';
import { Credential } from './credential';
import { KeyApi, PRIORITY, RATE, type WaitingLists } from './key-api';
import { ManagementKey } from './management-key';
import { descriptionOf } from './mint';
import { nextKey } from './renewal';
import { inconclusive, Sdk } from './sdk';

interface MomentoOptions {
  /** `host:port` of an emulator in place of Momento (gRPC). */
  readonly emulator?: string | undefined;
  /** `host:port` of an emulator in place of Momento's key API (HTTP). */
  readonly keyApiEmulator?: string | undefined;
  /** The host that verifies a v2 key if its payload contains no host. */
  readonly endpoint?: string | undefined;
  /** The path of the refresh of v2 keys. */
  readonly refreshPath?: string | undefined;
  readonly clock: Clock;
}

export class MomentoKeys implements KeySource {
  readonly issuer = 'Momento';
  readonly newCredential = 'a new key from the Momento console';
  readonly #options: MomentoOptions;
  /** All sessions share the limiter, because Momento limits the rate of the account. */
  readonly #limiter: RateLimiter;
  readonly #sdk: Sdk;
  readonly #waitingLists: WaitingLists = new Map();

  constructor(options: MomentoOptions) {
    const { emulator, clock } = options;
    this.#options = options;
    this.#sdk = new Sdk(clock, emulator);
    this.#limiter = new RateLimiter(clock, RATE);
  }

  parse(payload: Uint8Array): Credential {
    return Credential.parse(payload);
  }

  open(
    managementKey: ManagementKeySecret | undefined,
    { isUrgent }: SessionOptions = { isUrgent: false },
  ): MomentoSession {
    const { keyApiEmulator: emulator, refreshPath, endpoint, clock } = this.#options;
    const api = new KeyApi({
      emulator,
      refreshPath,
      limiter: this.#limiter,
      isUrgent,
      clock,
      managementSecret: managementKey?.name,
      waitingLists: this.#waitingLists,
    });
    return new MomentoSession({ sdk: this.#sdk, api, endpoint, clock, managementKey });
  }
}

interface SessionServices {
  readonly sdk: Sdk;
  readonly api: KeyApi;
  readonly endpoint: string | undefined;
  readonly clock: Clock;
  readonly managementKey: ManagementKeySecret | undefined;
}

export class MomentoSession implements KeySession {
  readonly #options: SessionServices;
  #managementKey: Promise<ManagementKey | RotationError> | undefined;
  /** New management keys, which must be able to list keys. */
  readonly #managementKeys = new WeakSet<StoredCredential>();

  constructor(options: SessionServices) {
    this.#options = options;
  }

  prepare(): void {
    if (this.#options.managementKey !== undefined) void this.#manager();
  }

  async nextKey(secret: Secret, current: CurrentKey | undefined): Promise<NextKey | RotationError> {
    const { sdk, api, clock, managementKey } = this.#options;
    const own = current && { ...current, credential: asOwn(current.credential) };
    const next = await nextKey(secret, own, {
      sdk,
      api,
      managementKey: managementKey && (() => this.#manager()),
      now: () => clock.now(),
    });
    if (next instanceof RotationError || next.by !== 'mint') return next;
    if (!(await this.#isManagementSecret(secret, own?.credential))) return next;
    return {
      ...next,
      issue: async (limits) => {
        const issued = await next.issue(limits);
        this.#managementKeys.add(issued.credential);
        return issued;
      },
    };
  }

  verifyNew(credential: StoredCredential, limits: CallLimits): Promise<KeyCheck> {
    const own = asOwn(credential);
    const mustList = this.#managementKeys.has(credential);
    const check = { priority: PRIORITY.verifyNew, mustList };
    return orInconclusive(
      mustList
        ? this.#options.api.check(own.apiKey, check, limits)
        : this.#check(own, check, limits),
    );
  }

  async verifyNewest(credential: StoredCredential, limits: CallLimits): Promise<KeyCheck> {
    const own = asOwn(credential);
    if (this.#hostOf(own) === undefined && (await this.listedState(own, limits)) === 'valid') {
      return { verdict: 'accepted' };
    }
    const check = { priority: PRIORITY.verifyNewest, mustList: false };
    return orInconclusive(this.#check(own, check, limits));
  }

  async verifyRejected(credential: StoredCredential, limits: CallLimits): Promise<KeyCheck> {
    const own = asOwn(credential);
    const { api } = this.#options;
    const check = { priority: PRIORITY.verifyNewest, mustList: false };
    const answer = await orInconclusive(this.#check(own, check, limits));
    const isOnlyHost = own.kind !== 'v2' || this.#hostOf(own) === undefined;
    if (answer.verdict !== 'rejected' || isOnlyHost) return answer;
    return orInconclusive(api.check(own.apiKey, check, limits));
  }

  async listedState(
    credential: StoredCredential,
    limits: CallLimits,
  ): Promise<'valid' | 'expired' | 'absent' | 'unknown'> {
    if (this.#options.managementKey === undefined || credential.keyId === undefined) {
      return 'unknown';
    }
    try {
      const { keys, skipped } = await (await this.#usableManager()).list(limits);
      const key = keys.get(credential.keyId);
      if (key === undefined) {
        if (skipped === 0) return 'absent';
        // A skipped entry might be that of this key, so the key itself is verified.
        const check = { priority: PRIORITY.verifyNewest, mustList: false };
        const { apiKey } = asOwn(credential);
        const { verdict } = await this.#options.api.check(apiKey, check, limits);
        return verdict === 'rejected' ? 'absent' : 'unknown';
      }
      return key.expiresAt > this.#options.clock.now() ? 'valid' : 'expired';
    } catch (thrown) {
      asFailure(thrown);
      return 'unknown';
    }
  }

  async ownKeys(secret: Secret, limits: CallLimits): Promise<OwnKeys> {
    const manager = await this.#usableManager();
    const { keys, skipped } = await manager.list(limits);
    const now = this.#options.clock.now();
    const description = descriptionOf(secret);
    const own = [...keys.values()].filter(
      (key) =>
        key.description === description && key.keyId !== manager.keyId && key.expiresAt > now,
    );
    return {
      keys: own.map(({ keyId, issuedAt }) => ({ keyId, issuedAt })),
      managementKeyId: manager.keyId,
      skipped,
      warnings: [...manager.warnings, ...skippedEntries(skipped)],
    };
  }

  async revoke(
    keyIds: readonly string[],
    recheck: (keyIds: readonly string[]) => Promise<readonly string[]>,
    limits: CallLimits,
  ): Promise<Map<string, true | RotationError>> {
    const results = new Map<string, true | RotationError>();
    const manager = await this.#usableManager();
    const wanted = keyIds.filter((keyId) => keyId !== manager.keyId);
    if (wanted.length === 0) return results;
    const begin = await this.#options.api.waitToRevoke(wanted.length, limits);
    const rechecked = await recheck(wanted);
    begin();
    await Promise.all(
      wanted
        .filter((keyId) => rechecked.includes(keyId))
        .map(async (keyId) => {
          const revoked = manager.revoke(keyId, limits).then(() => true as const);
          results.set(keyId, await revoked.catch(toRotationError));
        }),
    );
    return results;
  }

  close(): void {
    this.#options.api.close();
    void this.#managementKey?.then((key) => {
      if (key instanceof ManagementKey) key.forget();
    });
  }

  #check(
    credential: Credential,
    check: Parameters<KeyApi['check']>[1],
    limits: CallLimits,
  ): Promise<KeyCheck> {
    const { sdk, api } = this.#options;
    const host = this.#hostOf(credential);
    return host === undefined
      ? api.check(credential.apiKey, check, limits)
      : sdk.check(credential, host, limits);
  }

  /** The host of a v2 key; undefined if it isn't known. Empty for an older key, which contains its host. */
  #hostOf({ kind, endpoint }: Credential): string | undefined {
    if (kind !== 'v2') return '';
    return endpoint ?? (this.#options.endpoint === '' ? undefined : this.#options.endpoint);
  }

  async #isManagementSecret(
    { name }: Secret,
    credential: Credential | undefined,
  ): Promise<boolean> {
    const manager = await this.#manager();
    // A secret has two names: with its project's id, and with the project's number.
    const isSameKey =
      manager instanceof ManagementKey && credential !== undefined && manager.includes(credential);
    return isSameKey || name === this.#options.managementKey?.name;
  }

  /** The management key, or the error for the calls that need it. */
  #manager(): Promise<ManagementKey | RotationError> {
    const { managementKey, api, clock } = this.#options;
    if (managementKey === undefined) throw new TypeError('no management key is configured');
    this.#managementKey ??= ManagementKey.read(managementKey, api, () => clock.now()).catch(
      toRotationError,
    );
    return this.#managementKey;
  }

  async #usableManager(): Promise<ManagementKey> {
    const manager = await this.#manager();
    if (manager instanceof RotationError) throw manager;
    return manager;
  }
}

function skippedEntries(count: number): string[] {
  return count === 0
    ? []
    : [`${count} entries of the account's list of keys couldn't be read, and were skipped`];
}

/** If the call itself failed, it isn't known whether Momento accepts the key. */
async function orInconclusive(check: Promise<KeyCheck>): Promise<KeyCheck> {
  try {
    return await check;
  } catch (thrown) {
    return inconclusive(asFailure(thrown));
  }
}

/** @throws the error if it is a fault of the rotator */
function asFailure(thrown: unknown): RotationError {
  if (thrown instanceof RotationError && thrown.code !== 'INTERNAL') return thrown;
  throw thrown;
}

/** The rotation passes only credentials that this source parsed or issued. */
function asOwn(credential: StoredCredential): Credential {
  if (credential instanceof Credential) return credential;
  throw new TypeError('a credential of another source of keys');
}
