/**
 * What one process asks of Secret Manager at a time: bounded calls in flight, bounded writes per second and project, and a
 * pause for a quota that is used up.
 */
import type { Clock } from '../clock';
import { SECOND } from '../duration';
import { RotationError } from '../errors';
import { RateLimiter } from '../rate-limiter';

const MAX_IN_FLIGHT = 32;

/** Google allows 600 writes per minute. Other users of the project's quota keep the rest. */
const WRITES = { calls: 8, windowMs: SECOND, service: 'Secret Manager' };

/** Google counts by the minute. */
const FIRST_PAUSE_MS = SECOND;
const LONGEST_PAUSE_MS = 20 * SECOND;

/** Secret Manager's quotas. Each project has its own. */
export type Quota = 'access' | 'read' | 'write';

/** The order in which waiting calls begin. */
export const Priority = { ADD: 0, READ: 1, CHANGE: 2 } as const;
export type Priority = (typeof Priority)[keyof typeof Priority];

export interface QueuedCall {
  readonly project: string;
  readonly quota: Quota;
  readonly priority: Priority;
  /** On the monotonic clock. */
  readonly deadline: number;
}

interface Pause {
  readonly lengthMs: number;
  readonly until: number;
  /** Why calls pause. */
  readonly error: RotationError;
}

interface Waiter {
  readonly deadline: number;
  readonly begin: () => void;
  readonly fail: () => void;
}

export class CallQueue {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #limiters = new Map<string, RateLimiter>();
  readonly #pauses = new Map<string, Pause>();
  /** Calls that wait for one in flight to end, by priority. */
  readonly #waiting: readonly Waiter[][] = [[], [], []];
  #inFlight = 0;

  constructor(clock: Clock, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
  }

  /**
   * Makes a call when its turn has come.
   *
   * @throws RotationError DEADLINE_EXCEEDED if the turn doesn't come before the call's deadline. If a used-up quota is the
   *   reason, it is the error of that quota
   */
  async run<T>(call: QueuedCall, make: () => Promise<T>): Promise<T> {
    const key = `${call.quota} ${call.project}`;
    await this.#turn(key, call);
    const begun = this.#clock.monotonic();
    try {
      const answer = await make();
      if (begun >= this.#pausedUntil(key)) this.#pauses.delete(key);
      return answer;
    } catch (error) {
      if (error instanceof RotationError && error.quota) this.#pause(key, begun, error);
      throw error;
    } finally {
      this.#inFlight -= 1;
      this.#beginNext();
    }
  }

  async #turn(key: string, call: QueuedCall): Promise<void> {
    const { quota, project, priority, deadline } = call;
    if (this.#clock.monotonic() > deadline) throw tooLate('other steps took that long');
    for (;;) {
      const pause = this.#pauses.get(key);
      const wait = (pause?.until ?? -Infinity) - this.#clock.monotonic();
      if (pause !== undefined && pause.until > deadline) throw usedUp(pause.error, wait);
      if (wait > 0) await this.#clock.sleep(wait);
      // After the pause: turns that came during it would begin all at once.
      if (quota === 'write') await this.#limiter(project).acquire({ deadline, priority });
      await this.#slot(call);
      if (this.#pausedUntil(key) <= this.#clock.monotonic()) return;
      // The quota was used up while this call waited.
      this.#inFlight -= 1;
      this.#beginNext();
    }
  }

  /** Waits until fewer than the allowed calls are in flight, and counts this one. */
  async #slot({ priority, deadline }: QueuedCall): Promise<void> {
    if (this.#inFlight < MAX_IN_FLIGHT) {
      this.#inFlight += 1;
      return;
    }
    await new Promise<void>((begin, reject) => {
      const fail = (): void => reject(tooLate('other calls were in progress'));
      this.#waiting[priority]?.push({ deadline, begin, fail });
    });
  }

  /** A call that has ended lets the next one begin, and ends those that wait in vain. */
  #beginNext(): void {
    const now = this.#clock.monotonic();
    for (const queue of this.#waiting) {
      while (this.#inFlight < MAX_IN_FLIGHT) {
        const next = queue.shift();
        if (next === undefined) break;
        if (next.deadline < now) {
          next.fail();
        } else {
          this.#inFlight += 1;
          next.begin();
        }
      }
    }
  }

  #limiter(project: string): RateLimiter {
    const limiter = this.#limiters.get(project) ?? new RateLimiter(this.#clock, WRITES);
    this.#limiters.set(project, limiter);
    return limiter;
  }

  #pausedUntil(key: string): number {
    return this.#pauses.get(key)?.until ?? -Infinity;
  }

  /** Begins a pause, or a longer one after a call that came after the last one. */
  #pause(key: string, begun: number, error: RotationError): void {
    const last = this.#pauses.get(key);
    if (last !== undefined && begun < last.until) return;
    const lengthMs = Math.min((last?.lengthMs ?? FIRST_PAUSE_MS / 2) * 2, LONGEST_PAUSE_MS);
    const until = this.#clock.monotonic() + lengthMs * (0.5 + this.#random() / 2);
    this.#pauses.set(key, { lengthMs, until, error });
  }
}

/** The caller's call wasn't made, so it certainly had no effect. */
function usedUp(error: RotationError, retryAfterMs: number): RotationError {
  const { code, problem, action, cause } = error;
  return new RotationError(code, { problem, action }, { cause, retryAfterMs });
}

/** @param reason what kept the call from beginning */
function tooLate(reason: string): RotationError {
  return new RotationError('DEADLINE_EXCEEDED', {
    problem: `The time of this run was over before a call to Secret Manager (${reason}).`,
    action:
      'Wait for the next run. If it fails as well, rotate fewer secrets at once, or raise TIMEOUT.',
  });
}
