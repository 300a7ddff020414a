/**
 * The invariants of compromise responses. The numbers continue those in invariants.ts:
 *
 * 12. A response is contained only if Momento rejects every key that the secret had when the request was made: the keys in
 *     its enabled versions, and those with its description. A response that isn't contained logs CRITICAL.
 * 13. Until a version with a new key is stored, no older key is revoked, and no version is disabled. With `revokeFirst`,
 *     invariant 13 doesn't apply.
 */
import type { MomentoEmulator } from '../../emulators/momento';
import type { SecretManagerEmulator } from '../../emulators/secret-manager';
import type { LogEntry } from '../../src/log';
import type { RotationResult } from '../../src/rotation/result';
import { descriptionOf, keyIn } from './keys';

export interface ResponseWatch {
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  /** The secrets whose keys are compromised. */
  readonly secrets: readonly string[];
  readonly revokeFirst: boolean;
  readonly isOperatorActing: () => boolean;
  readonly violated: (invariant: number, what: string) => void;
}

export class ResponseInvariants {
  readonly #watch: ResponseWatch;
  readonly #unlisten: (() => void)[];
  /** The keys that each secret had when the request was made. */
  readonly #old = new Map<string, Set<string>>();
  /** The enabled versions of each secret before the last change. */
  readonly #enabled = new Map<string, readonly string[]>();
  #since = 0;
  /** Keys whose revocation by a call was checked. */
  readonly #revoked = new Set<string>();

  constructor(watch: ResponseWatch) {
    this.#watch = watch;
    const { secretManager, momento } = watch;
    this.#unlisten = [secretManager, momento].map((service) =>
      service.onChange(() => this.#check()),
    );
  }

  stop(): void {
    for (const unlisten of this.#unlisten) unlisten();
  }

  /** To be called when the request is made. */
  begins(): void {
    const { secretManager, momento, secrets } = this.#watch;
    this.#since = secretManager.now();
    for (const secret of secrets) {
      const described = momento.account.keys(descriptionOf(secret)).map(({ apiKey }) => apiKey);
      const stored = this.#versions(secret).map(({ payload }) => keyIn(payload));
      this.#old.set(secret, new Set([...described, ...stored]));
      this.#enabled.set(secret, this.#numbers(secret));
    }
  }

  /** Checks invariant 12 at the end of a response. */
  ends(results: readonly RotationResult[], log: readonly LogEntry[]): void {
    const { violated } = this.#watch;
    for (const { secret, contained } of results) {
      const working = this.#working(secret).length;
      if (contained === true && working > 0) {
        violated(12, `contained, and Momento accepts ${working} old keys`);
      }
      const { severity } = log.find((entry) => entry.secret === secret) ?? {};
      if (contained === false && severity !== 'CRITICAL') {
        violated(12, `a response that isn't contained logs ${severity ?? 'nothing'}`);
      }
    }
  }

  /** Whether Momento accepts a key that the secrets had when the request was made. */
  get hasWorkingKeys(): boolean {
    return this.#watch.secrets.some((secret) => this.#working(secret).length > 0);
  }

  #working(secret: string): string[] {
    const { momento } = this.#watch;
    return [...(this.#old.get(secret) ?? [])].filter((key) => momento.accepts(key));
  }

  /** Forgets keys that a response can't find, because an operator disabled or deleted their versions. */
  #forgetUnreadable(secret: string, old: Set<string>): void {
    const { account } = this.#watch.momento;
    const stored = this.#versions(secret).map(({ payload }) => keyIn(payload));
    for (const key of old) {
      const isDescribed = account.find(key)?.info.description === descriptionOf(secret);
      if (!isDescribed && !stored.includes(key)) old.delete(key);
    }
  }

  #check(): void {
    const { momento, revokeFirst, isOperatorActing, violated } = this.#watch;
    for (const [secret, old] of this.#old) {
      const before = this.#enabled.get(secret) ?? [];
      const now = this.#numbers(secret);
      this.#enabled.set(secret, now);
      if (isOperatorActing()) this.#forgetUnreadable(secret, old);
      if (isOperatorActing() || this.#hasNewKey(secret, old)) continue;
      const disabled = before.filter((version) => !now.includes(version));
      if (disabled.length > 0 && !revokeFirst) {
        violated(13, `${disabled.join()} was disabled before a new key was stored`);
      }
    }
    for (const { apiKey, info, revoked } of momento.account.keys()) {
      if (revoked?.by !== 'call' || this.#revoked.has(apiKey)) continue;
      this.#revoked.add(apiKey);
      const owners = [...this.#old].filter(([, old]) => old.has(apiKey)).map(([secret]) => secret);
      if (revokeFirst) continue;
      const [owner] = owners.filter((secret) => !this.#hasNewKey(secret, this.#old.get(secret)));
      if (owner !== undefined)
        violated(13, `${info.key_id} was revoked before a new key was stored`);
    }
  }

  /** Whether a version with a new key was added since the request. */
  #hasNewKey(secret: string, old: ReadonlySet<string> = new Set()): boolean {
    return this.#watch.secretManager
      .versions(secret)
      .some(({ payload, createTime }) => createTime >= this.#since && !old.has(keyIn(payload)));
  }

  #versions(secret: string) {
    const { secretManager } = this.#watch;
    return secretManager.versions(secret).filter(({ state }) => state === 'ENABLED');
  }

  #numbers(secret: string): string[] {
    return this.#versions(secret).map(({ version }) => version);
  }
}
