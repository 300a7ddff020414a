/**
 * The invariants of v2 keys, which hold at every moment. The numbers continue those in invariants.ts:
 *
 *  7. No enabled version contains a key that the rotator revoked.
 *  8. The rotator revokes only keys whose description is exactly that of a rotated secret: no key of another secret or of
 *     an operator.
 *  9. When faults stop, two more runs leave only minted keys that enabled versions contain. The second run is an hour and
 *     the grace period later.
 *
 * To read a version and to revoke its key takes two calls. So invariant 7 has one excuse: an operator enabled or added the
 * version after the run had last read its number. A run reads every number up to the newest, and the next number, which must
 * be absent. If a number is absent, all higher numbers are absent too.
 *
 * A compromise response also revokes keys in enabled versions, and keys with another description. For a response, invariant 7
 * protects only the newest version, and invariant 8 the newest version of every other configured secret.
 */
import type { Account, Key } from '../../emulators/account';
import type { SecretManagerEmulator } from '../../emulators/secret-manager';
import { descriptionOf, keyIn } from './keys';

export interface KeyWatch {
  readonly secretManager: SecretManagerEmulator;
  readonly account: Account;
  /** The secrets whose keys can be revoked. */
  readonly secrets: readonly string[];
  /** The other configured secrets; set if a compromise response happens. */
  readonly others?: readonly string[];
  /** Whether the compromise response revokes the newest key before it stores another one. */
  readonly revokesFirst?: boolean;
  readonly isOperatorActing: () => boolean;
  readonly violated: (invariant: number, what: string) => void;
  /** Called when the revocation of a newest key is excused, for instance because an operator stored the key too late. */
  readonly excused: (secret: string) => void;
}

export class KeyInvariants {
  /** Set while another process adds versions. A response can revoke their keys before it sees the versions. */
  hasOtherProcess = false;
  /** How often an operator acted between a read and a revocation. */
  excuses = 0;

  readonly #watch: KeyWatch;
  readonly #unlisten: (() => void)[];
  readonly #revoked = new Set<Key>();
  /** The key in each enabled version. */
  #enabled = new Map<string, Key | undefined>();
  /** When an operator enabled or added a version. The unit of time is an event. */
  readonly #acts = new Map<string, number>();
  /** When this run last read a version. */
  readonly #reads = new Map<string, number>();
  /** When this run last read numbers without a version. */
  #absences: { secret: string; from: number; at: number }[] = [];
  #events = 0;

  constructor(watch: KeyWatch) {
    this.#watch = watch;
    this.#enabled = this.#snapshot();
    this.#unlisten = [
      watch.secretManager.onChange(() => this.#check()),
      watch.account.onChange(() => this.#check()),
    ];
  }

  stop(): void {
    for (const unlisten of this.#unlisten) unlisten();
  }

  /** To be called when a run begins. Deletes the reads of earlier runs, which the run doesn't know. */
  runBegins(): void {
    this.#reads.clear();
    this.#absences = [];
  }

  /** To be called when a run reads a version by number. Call the returned function when the run gets the answer. */
  reads(secret: string, version: number): () => void {
    this.#events += 1;
    const at = this.#events;
    const name = `${secret}/versions/${version}`;
    const versions = this.#watch.secretManager.versions(secret);
    const isAbsent = versions.every((known) => Number(known.version) !== version);
    return () => {
      if (isAbsent) this.#absences.push({ secret, from: version, at });
      else this.#reads.set(name, at);
    };
  }

  /**
   * Checks invariant 9 for the keys that are left in the end.
   *
   * @param inUse the management key of the last run, which that run can't revoke
   */
  checkEnd(inUse: string | undefined): void {
    const { secrets, account, violated } = this.#watch;
    for (const secret of secrets) {
      const referenced = new Set(this.#snapshot([secret]).values());
      const left = account
        .keys(descriptionOf(secret))
        .filter((key) => account.isLive(key) && !referenced.has(key) && key.apiKey !== inUse);
      if (left.length > 0) violated(9, `${left.length} orphaned keys are left`);
    }
  }

  #check(): void {
    const { account, secretManager, secrets, violated } = this.#watch;
    const before = this.#enabled;
    this.#enabled = this.#snapshot();
    for (const [version, key] of this.#enabled) {
      if (before.has(version)) continue;
      this.#events += 1;
      if (this.#watch.isOperatorActing()) this.#acts.set(version, this.#events);
      else {
        this.#acts.delete(version);
        this.#forgetAbsence(version);
        if (key?.revoked?.by !== 'call') continue;
        if (this.hasOtherProcess) this.#watch.excused(secretOf(version));
        else violated(7, `${version} was added with a revoked key`);
      }
    }
    for (const key of account.keys()) {
      if (key.revoked?.by !== 'call' || this.#revoked.has(key)) continue;
      this.#revoked.add(key);
      if (!secrets.map(descriptionOf).includes(key.info.description) && !this.#isCompromised(key)) {
        violated(8, `the key '${key.info.description}' was revoked`);
      }
      for (const other of this.#watch.others ?? []) {
        const isItsKey = keyIn(secretManager.latest(other)) === key.apiKey;
        if (isItsKey) violated(8, `the newest key of ${other} was revoked`);
      }
      for (const [version, enabled] of this.#enabled) {
        if (enabled !== key || this.#isSuperseded(version)) continue;
        if (this.#watch.revokesFirst === true || this.hasOtherProcess)
          this.#watch.excused(secretOf(version));
        else if (this.#isUnseen(version)) {
          this.excuses += 1;
          this.#watch.excused(secretOf(version));
        } else violated(7, `the key of ${version}, which is enabled, was revoked`);
      }
    }
  }

  /** Whether a compromise response can find a key in a version of its secrets. */
  #isCompromised({ apiKey }: Key): boolean {
    const { secretManager, secrets, others } = this.#watch;
    if (others === undefined) return false;
    return secrets
      .flatMap((secret) => secretManager.versions(secret))
      .some(({ payload }) => keyIn(payload) === apiKey);
  }

  /** Whether a compromise response can revoke the key in this version. */
  #isSuperseded(version: string): boolean {
    const { secretManager, others } = this.#watch;
    const [secret = '', number] = version.split('/versions/');
    return others !== undefined && secretManager.versions(secret)[0]?.version !== number;
  }

  /** A run that has added a version must read the next number again. */
  #forgetAbsence(version: string): void {
    const [secret, number] = version.split('/versions/');
    this.#absences = this.#absences.filter(
      (absence) => absence.secret !== secret || absence.from > Number(number),
    );
  }

  /** Whether an operator enabled or added a version since this run read its number. */
  #isUnseen(version: string): boolean {
    const act = this.#acts.get(version);
    const [secret = '', number] = version.split('/versions/');
    const absent = this.#absences
      .filter((absence) => absence.secret === secret && absence.from <= Number(number))
      .map(({ at }) => at);
    const read = Math.max(this.#reads.get(version) ?? 0, ...absent);
    return act !== undefined && read > 0 && act > read;
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
            payload && account.find(keyIn(payload)),
          ]),
      ),
    );
  }
}

function secretOf(version: string): string {
  return version.replace(/\/versions\/.*/, '');
}
