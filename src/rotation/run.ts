/** The context of one run, which its steps share. */
import type { Clock } from '../clock';
import type { Deadlines } from './deadlines';
import type { RenewalPolicy } from './policy';
import type { KeySession, KeySource, Secret, SecretStore } from './ports';
import type { UnsavedCredentials } from './unsaved';

/** The caller's choices. */
export interface RunOptions {
  /** Rotate even if the key isn't due. */
  readonly force: boolean;
  /** Report the effects that a run would have, and change nothing. */
  readonly dryRun: boolean;
  /** The time for which the run was scheduled, in milliseconds since the epoch. */
  readonly scheduledAt?: number | undefined;
  /**
   * When the message that requests the run was published, in milliseconds since the epoch. If a version was added since this
   * time, an earlier delivery of the message added it, and the run skips the rotation. `force` overrides only `scheduledAt`.
   */
  readonly publishedAt?: number | undefined;
  /** When the run must have ended, on the monotonic clock. */
  readonly deadline: number;
}

/** The services and rules that all runs share. */
export interface Dependencies {
  readonly store: SecretStore;
  readonly keys: KeySource;
  readonly policy: RenewalPolicy;
  readonly clock: Clock;
}

export interface Run extends Dependencies {
  readonly secret: Secret;
  readonly options: RunOptions;
  readonly session: KeySession;
  readonly unsaved: UnsavedCredentials;
  readonly deadlines: Deadlines;
  readonly timings: StepTimings;
  /** The ids of the keys in the newest versions of all other configured secrets. */
  readonly keyIdsInOtherSecrets: () => Promise<ReadonlySet<string>>;
  /** Another name of this secret that comes earlier in the request, if there is one. */
  readonly earlierNameOf: (canonicalName: string | undefined) => Promise<string | undefined>;
}

export type Step = 'inspect' | 'issue' | 'verify' | 'add' | 'disable' | 'destroy' | 'revoke';

/** How long each step took, in milliseconds. For the log: nothing depends on it. */
export class StepTimings {
  readonly steps: Partial<Record<Step, number>> = {};
  readonly #clock: Clock;
  readonly #startedAt: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedAt = clock.monotonic();
  }

  get totalMs(): number {
    return Math.round(this.#clock.monotonic() - this.#startedAt);
  }

  async measure<T>(step: Step, action: () => Promise<T>): Promise<T> {
    const startedAt = this.#clock.monotonic();
    try {
      return await action();
    } finally {
      const ms = this.#clock.monotonic() - startedAt;
      this.steps[step] = Math.round((this.steps[step] ?? 0) + ms);
    }
  }
}
