/** Every time limit of a run, in one place. All times are monotonic, in milliseconds. */
import type { Clock } from '../clock';
import { HOUR, MINUTE, SECOND } from '../duration';
import type { RotationError } from '../errors';
import { retry } from '../retry';
import { ISSUE_TIMEOUT, type CallLimits } from './ports';

/** A run ends this long before the function's timeout. Then the function still sends its answer. */
export const TIME_TO_ANSWER = 15 * SECOND;

/** For how long a failing call is retried, unless a longer wait can save a credential. */
export const RETRY_FOR = 30 * SECOND;

/**
 * How long a run waits for Momento's rate limit. An account limit looks the same and never passes, so the wait is bounded.
 */
export const QUOTA_RETRY_FOR = 2 * MINUTE;

/** No attempt to add a version begins later than this before the end of the run. */
export const TIME_TO_ADD = 30 * SECOND;

/** The cleanup ends this long before the run: its last calls must end in time, or the run's result would be lost. */
export const TIME_FOR_LAST_CALLS = 15 * SECOND;

/** An add that begins after `latestAdd`, because the issue or the verification was slow, is tried for this long. */
export const TIME_FOR_LATE_ADD = 10 * SECOND;

/** No key is issued if less time remains than one attempt and storing its result can take. */
export const TIME_TO_ISSUE_AND_ADD = ISSUE_TIMEOUT + TIME_TO_ADD;

/** For how long a failing issue is retried. */
export const ISSUE_RETRY_FOR = 90 * SECOND;

/** For how long a run whose refresh was refused looks for the version of another run that was first. */
export const OTHER_RUN_WAIT = 5 * SECOND;

/** For this long after its issue a rejected key might only be unknown yet: keys take seconds to propagate. */
export const PROPAGATION_DELAY = 10 * SECOND;

/** For how long an inconclusive verification is retried. */
export const VERIFY_RETRY_FOR = 15 * SECOND;

/** A minted key can be orphaned from this age on. A younger key might belong to a run that is about to add it. */
export const ORPHAN_AGE = HOUR;

/** A rejected newest version that is younger isn't replaced: its key might be unknown to a part of Momento. */
export const REPLACE_REJECTED_AGE = HOUR;

/**
 * A minted key is added within this time or never. After `ORPHAN_AGE` another run could revoke it. The 15 minutes between
 * them allow for clocks that differ between instances.
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

  /** No attempt to add a version begins after this. */
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

  /** A moment that is `ms` away, or the end of the run. */
  in(ms: number, latest = this.end): number {
    return Math.min(this.clock.monotonic() + ms, latest);
  }

  /**
   * Retries a call for 30 s after its first transient failure. A used-up quota of the store is waited for until `latest`:
   * many secrets share it, and it refills every minute.
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
