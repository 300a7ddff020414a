/** Every time limit of a run, in one place. All times are monotonic, in milliseconds. */
import type { Clock } from '../clock';
import { HOUR, MINUTE, SECOND } from '../duration';
import type { RotationError } from '../errors';
import { retry } from '../retry';
import { ISSUE_TIMEOUT, type CallLimits } from './ports';

/** A run ends this long before the function's timeout, so that the function can still send its answer. */
export const TIME_TO_ANSWER = 15 * SECOND;

/** For how long a failing call is retried, unless a longer wait can save a credential. */
export const RETRY_FOR = 30 * SECOND;

/**
 * How long a run waits if Momento limits its calls. Momento gives the same answer if the account has too many keys. Then
 * waiting doesn't help, so the wait is bounded.
 */
export const QUOTA_RETRY_FOR = 2 * MINUTE;

/** Attempts to add a version begin at least this long before the end of the run. TIME_FOR_LATE_ADD is the exception. */
export const TIME_TO_ADD = 30 * SECOND;

/** The last call of a cleanup begins this long before the end of the run. Otherwise the run's result could be lost. */
export const TIME_FOR_LAST_CALLS = 15 * SECOND;

/** If a slow issue or verification ends after `latestAdd`, the run still tries to add the version for this long. */
export const TIME_FOR_LATE_ADD = 10 * SECOND;

/** The longest time to issue a key in one attempt and to store it. If less time remains, a run issues no key. */
export const TIME_TO_ISSUE_AND_ADD = ISSUE_TIMEOUT + TIME_TO_ADD;

/** For how long a failing issue is retried. */
export const ISSUE_RETRY_FOR = 90 * SECOND;

/** How long a run looks for a newer version after Momento refused its refresh: another run might have used the token first. */
export const OTHER_RUN_WAIT = 5 * SECOND;

/** A key takes seconds to propagate. For this long after its issue, Momento might reject a good key. */
export const PROPAGATION_DELAY = 10 * SECOND;

/** For how long an inconclusive verification is retried. */
export const VERIFY_RETRY_FOR = 15 * SECOND;

/** Only a minted key that is older than this can count as orphaned. Another run might be about to add a younger key. */
export const ORPHAN_AGE = HOUR;

/** A run doesn't replace a rejected newest version that is younger than this: a part of Momento might not know its key yet. */
export const REPLACE_REJECTED_AGE = HOUR;

/**
 * A run adds a minted key within this time or never, because after `ORPHAN_AGE` another run could revoke the key. The
 * difference of 15 minutes allows for clocks that differ between instances.
 */
export const MINTED_KEY_ADD_WITHIN = ORPHAN_AGE - 15 * MINUTE;

/** The time limits of one run. */
export class Deadlines {
  constructor(
    private readonly clock: Clock,
    /** When the run must have ended. */
    readonly end: number,
  ) {}

  /** No key is issued after this. */
  get latestIssue(): number {
    return this.end - TIME_TO_ISSUE_AND_ADD;
  }

  /** No attempt to add a version begins after this, unless a slow issue or verification ends later. */
  get latestAdd(): number {
    return this.end - TIME_TO_ADD;
  }

  /** The limits of a step that must end this long before the run. */
  before(ms: number): Deadlines {
    return new Deadlines(this.clock, this.end - ms);
  }

  get canIssue(): boolean {
    return this.clock.monotonic() <= this.latestIssue;
  }

  /** The time in `ms` from now, but at most `latest`, by default the end of the run. */
  in(ms: number, latest = this.end): number {
    return Math.min(this.clock.monotonic() + ms, latest);
  }

  /**
   * Retries a call for 30 s after its first transient failure. If a quota is used up, the call is retried for `quotaRetryFor`.
   * By default this is until `latest`: many secrets share the store's quota, which refills every minute.
   */
  retry<T>(
    call: (limits: CallLimits) => Promise<T>,
    { latest = this.end, quotaRetryFor = Infinity } = {},
  ): Promise<T> {
    const limit = (ms: number): (() => number) => {
      let giveUpAt: number | undefined;
      return () => (giveUpAt ??= this.in(ms, latest));
    };
    const transient = limit(RETRY_FOR);
    const quota = limit(quotaRetryFor);
    return retry(
      this.clock,
      () => call({ deadline: latest }),
      (error: RotationError) => (error.quota ? quota() : transient()),
    );
  }
}
