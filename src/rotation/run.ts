/** What the steps of one run are given. */
import type { Clock } from '../retry';
import type { Budget } from './budget';
import type { RenewalPolicy } from './decide';
import type { PendingCredentials } from './pending';
import type { KeySession, KeySource, Secret, SecretStore } from './ports';
import type { Trail } from './trail';

/** What the caller of a run chooses. */
export interface RunOptions {
  readonly force: boolean;
  readonly dryRun: boolean;
  /** The time for which the run was scheduled, in milliseconds since the epoch; unset for a run by hand. */
  readonly scheduledAt?: number;
  /** When the run has to have ended, in milliseconds since the epoch. */
  readonly deadline: number;
}

/** What all runs have in common. */
export interface Environment {
  readonly store: SecretStore;
  readonly keys: KeySource;
  readonly policy: RenewalPolicy;
  readonly clock: Clock;
}

export interface Run extends Environment {
  readonly secret: Secret;
  readonly options: RunOptions;
  readonly session: KeySession;
  readonly pending: PendingCredentials;
  readonly budget: Budget;
  readonly trail: Trail;
}
