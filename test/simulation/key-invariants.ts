/**
 * What has to be true of v2 keys at every moment. The numbers go on from those in invariants.ts:
 *
 *  7. No enabled version holds a key that the rotator revoked.
 *  8. Only keys with exactly a rotated secret's description are revoked: nothing of another secret, nothing of a person.
 *  9. When faults stop, two runs, the second after an hour and the grace period, leave one key of ours for each enabled
 *     version that holds one, and no other.
 *
 * Secret Manager and Momento offer no call that looks at the one and ends a key at the other in one step. So 7 has one
 * excuse: a person enabled or added that very version after this run's last look at its number. A run looks at every number
 * up to the newest, and at the next one, which has to be absent; versions above an absent number were absent as well.
 */
import type { Account, Key } from '../../emulators/account';
import type { SecretManagerEmulator } from '../../emulators/secret-manager';
import { keyIn } from './payloads';

/** What makes a key ours, by the judge's own reading of the contract. */
export function ours(secret: string): string {
  return `momento-key-rotator ${secret}`;
}

export interface KeyWatch {
  readonly secretManager: SecretManagerEmulator;
  readonly account: Account;
  /** The secrets whose keys may be revoked. */
  readonly secrets: readonly string[];
  readonly isPersonActing: () => boolean;
  readonly violated: (invariant: number, what: string) => void;
  /** Told when a key was revoked that a person had put back too late to be seen. */
  readonly excused: () => void;
}

export class KeyInvariants {
  /** How often a person acted between a look and a revocation. */
  excuses = 0;

  readonly #watch: KeyWatch;
  readonly #unlisten: (() => void)[];
  readonly #revoked = new Set<Key>();
  /** The key in each enabled version. */
  #enabled = new Map<string, Key | undefined>();
  /** When a person enabled or added a version. Time is a count of events. */
  readonly #acts = new Map<string, number>();
  /** When this run looked at a version for the last time. */
  readonly #looks = new Map<string, number>();
  /** The same for numbers that were absent. */
  #absences: { secret: string; from: number; at: number }[] = [];
  #events = 0;

  constructor(watch: KeyWatch) {
    this.#watch = watch;
    this.#enabled = this.#snapshot();
    this.#unlisten = [
      watch.secretManager.onChange(() => this.#judge()),
      watch.account.onChange(() => this.#judge()),
    ];
  }

  stop(): void {
    for (const unlisten of this.#unlisten) unlisten();
  }

  /** To be called when a run begins: what others saw before is not what it knows. */
  runBegins(): void {
    this.#looks.clear();
    this.#absences = [];
  }

  /** To be called when a run looks at a version by number; what it returns, once it gets the answer. */
  looks(secret: string, version: number): () => void {
    this.#events += 1;
    const at = this.#events;
    const name = `${secret}/versions/${version}`;
    const versions = this.#watch.secretManager.versions(secret);
    const isAbsent = versions.every((known) => Number(known.version) !== version);
    return () => {
      if (isAbsent) this.#absences.push({ secret, from: version, at });
      else this.#looks.set(name, at);
    };
  }

  /**
   * Judges the keys that are left in the end: 9.
   *
   * @param inUse the management key of the last run, which that run may not revoke
   */
  judgeEnd(inUse: string | undefined): void {
    const { secrets, account, violated } = this.#watch;
    for (const secret of secrets) {
      const held = new Set(this.#snapshot([secret]).values());
      const left = account
        .keys(ours(secret))
        .filter((key) => account.isLive(key) && !held.has(key) && key.apiKey !== inUse);
      if (left.length > 0) violated(9, `${left.length} keys are left that no version holds`);
    }
  }

  #judge(): void {
    const { account, secrets, violated } = this.#watch;
    const before = this.#enabled;
    this.#enabled = this.#snapshot();
    for (const [version, key] of this.#enabled) {
      if (before.has(version)) continue;
      this.#events += 1;
      if (this.#watch.isPersonActing()) this.#acts.set(version, this.#events);
      else {
        this.#acts.delete(version);
        this.#forgetAbsence(version);
        if (key?.revoked?.by === 'call') violated(7, `${version} was added with a revoked key`);
      }
    }
    for (const key of account.keys()) {
      if (key.revoked?.by !== 'call' || this.#revoked.has(key)) continue;
      this.#revoked.add(key);
      if (!secrets.map(ours).includes(key.info.description)) {
        violated(8, `the key '${key.info.description}' was revoked`);
      }
      for (const [version, held] of this.#enabled) {
        if (held !== key) continue;
        if (this.#isUnseen(version)) {
          this.excuses += 1;
          this.#watch.excused();
        } else violated(7, `the key of ${version}, which is enabled, was revoked`);
      }
    }
  }

  /** A run that has added a version must look at the next number again. */
  #forgetAbsence(version: string): void {
    const [secret, number] = version.split('/versions/');
    this.#absences = this.#absences.filter(
      (absence) => absence.secret !== secret || absence.from > Number(number),
    );
  }

  /** Whether a person enabled or added a version since this run looked at its number. */
  #isUnseen(version: string): boolean {
    const act = this.#acts.get(version);
    const [secret = '', number] = version.split('/versions/');
    const absent = this.#absences
      .filter((absence) => absence.secret === secret && absence.from <= Number(number))
      .map(({ at }) => at);
    const look = Math.max(this.#looks.get(version) ?? 0, ...absent);
    return act !== undefined && look > 0 && act > look;
  }

  #snapshot(secrets = this.#watch.secrets): Map<string, Key | undefined> {
    const { secretManager, account } = this.#watch;
    return new Map(
      secrets.flatMap((secret) =>
        secretManager
          .versions(secret)
          .filter(({ state }) => state === 'ENABLED')
          .map(({ version, payload }) => [
            `${secret}/versions/${version}`,
            payload && account.find(keyIn(payload) ?? ''),
          ]),
      ),
    );
  }
}
