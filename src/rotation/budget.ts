/** Every deadline of a run, in one place. */
import { HOUR, MINUTE, SECOND } from '../duration';
import { retry, type Clock } from '../retry';

/** The function's timeout less this is when a run has to have ended, so that its answer is still sent. */
export const ANSWER_RESERVE = 15 * SECOND;

/** How long a failing call to the store is tried again, while there is nothing to lose. */
export const STORE_PATIENCE = 30 * SECOND;

/** How long a limit is waited for that only some secrets have to do with: the others are to get their turn. */
export const QUOTA_PATIENCE = 2 * MINUTE;

/** What remains for storing a credential when a secret has been looked at for the last time. */
export const ADD_RESERVE = 30 * SECOND;

/** The longest that one try to issue a key takes: the fixed deadline of the slowest issuer's client. */
const ISSUE_CALL = 60 * SECOND;

/** No key is issued when less time remains than one try may take and storing its answer needs. */
export const ISSUE_RESERVE = ISSUE_CALL + ADD_RESERVE;

/** How long a failing issue is tried again. */
export const ISSUE_PATIENCE = 90 * SECOND;

/** How long a run whose refresh was refused looks for the version of another run that was first. */
export const OTHER_RUN_PATIENCE = 5 * SECOND;

/** For this long after it was issued, a key that is rejected may merely not have spread yet. */
export const NEW_KEY_LAG = 10 * SECOND;

/** How long the issuer is asked again when it gives no clear answer about a key. */
export const VERIFY_PATIENCE = 5 * SECOND;

/** How long a look at what is held is good for; whoever is about to revoke a key later looks again. */
export const LOOK_FRESHNESS = 0.1 * SECOND;

/** A minted key that no version holds by then is an orphan. */
export const ORPHAN_AGE = HOUR;

/** A minted key is added by then or never: well before others take it for an orphan, also by a clock that is wrong. */
export const MINTED_KEY_PATIENCE = ORPHAN_AGE - 15 * MINUTE;

/** The time that one run has. */
export class Budget {
  constructor(
    private readonly clock: Clock,
    /** When the run has to have ended. */
    readonly deadline: number,
  ) {}

  get hasTimeToIssue(): boolean {
    return this.clock.now() <= this.latestIssue;
  }

  /** No key is issued later. */
  get latestIssue(): number {
    return this.deadline - ISSUE_RESERVE;
  }

  /** No try to add a version begins later. */
  get latestAdd(): number {
    return this.deadline - ADD_RESERVE;
  }

  /** When a try that began now and lasts as long as it may is given up. */
  within(patience: number, latest = this.deadline): number {
    return Math.min(this.clock.now() + patience, latest);
  }

  /** Tries a call again, while it fails for a passing reason, for so long. */
  tryFor<T>(patience: number, call: () => Promise<T>, latest = this.deadline): Promise<T> {
    const giveUpAt = this.within(patience, latest);
    return retry(this.clock, call, () => giveUpAt);
  }

  /**
   * The same for a call to the store that there is no going on without. Its quota is full for up to a minute, and many
   * secrets may wait for it, so that alone is waited for as long as the run may last.
   */
  patiently<T>(call: () => Promise<T>): Promise<T> {
    const giveUpAt = this.within(STORE_PATIENCE);
    return retry(this.clock, call, ({ quota }) => (quota ? this.deadline : giveUpAt));
  }
}
