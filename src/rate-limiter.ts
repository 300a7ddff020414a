/** Spreads calls over time: at most `calls` calls begin within any window of `windowMs`. */
import type { Clock } from './clock';
import { deadlineExceeded, type RotationError } from './errors';

export interface RateLimitedCall {
  /** On the monotonic clock. A call that can't begin by then fails at once with DEADLINE_EXCEEDED, and takes no slot. */
  readonly deadline: number;
  /** Lower numbers go first. */
  readonly priority: number;
  /** How many calls begin together; 1 by default. */
  readonly slots?: number | undefined;
}

/** How many calls can begin within any window of time. */
export interface Rate {
  readonly calls: number;
  readonly windowMs: number;
}

/** The times at which the last `calls` calls began, in ascending order. */
export type Begins = readonly number[];

export function noBegins({ calls }: Rate): Begins {
  return Array<number>(calls).fill(-Infinity);
}

/** When this many calls can begin together. As many earlier calls must have left the window by then. */
export function earliestBegin(
  { windowMs }: Rate,
  begins: Begins,
  slots: number,
  now: number,
): number {
  return Math.max(now, (begins[slots - 1] ?? -Infinity) + windowMs);
}

export function addBegins(begins: Begins, slots: number, at: number): Begins {
  return [...begins.slice(slots), ...Array<number>(slots).fill(at)];
}

export interface RateLimiterOptions extends Rate {
  /** The service that is called, for the error message. */
  readonly service?: string | undefined;
}

interface Waiting {
  readonly deadline: number;
  readonly priority: number;
  readonly slots: number;
  readonly begin: (at: number) => void;
  readonly fail: (error: RotationError) => void;
}

/** Within a priority, calls begin in the order in which they arrived. */
export class RateLimiter {
  readonly #clock: Clock;
  readonly #options: RateLimiterOptions;
  #begins: Begins;
  /** By priority, then by arrival. */
  #queue: Waiting[] = [];
  /** Ends the limiter's sleep, and is set only while the limiter sleeps. Abort it to check the queue again. */
  #pause: AbortController | undefined;

  constructor(clock: Clock, options: RateLimiterOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#begins = noBegins(options);
  }

  /**
   * Waits until the call can begin, and resolves with the time. If a later call with a higher priority delays a call past its
   * deadline, the delayed call fails at once.
   */
  acquire({ deadline, priority, slots = 1 }: RateLimitedCall): Promise<number> {
    const { calls } = this.#options;
    if (slots > calls) throw new RangeError(`${slots} slots exceed ${calls} calls`);
    return new Promise((begin, fail) => {
      const position = this.#queue.findIndex((other) => other.priority > priority);
      this.#queue.splice(position === -1 ? this.#queue.length : position, 0, {
        deadline,
        priority,
        slots,
        begin,
        fail,
      });
      this.#dropLate();
      if (this.#pause === undefined) void this.#serve();
      // The new call might begin first, and might need fewer slots than the call that was first.
      else if (position !== -1) this.#pause.abort();
    });
  }

  /**
   * Counts calls as begun now instead of at the time that `acquire` returned. A caller uses this function if other work delayed
   * its calls. Otherwise the delayed calls and the next ones together could exceed the rate.
   *
   * @param at the time that `acquire` returned
   */
  beginNow(at: number, slots: number): void {
    const others = [...this.#begins];
    for (let slot = 0; slot < slots; slot += 1) {
      const index = others.indexOf(at);
      if (index !== -1) others.splice(index, 1);
    }
    const now = Array<number>(slots).fill(this.#clock.monotonic());
    this.#begins = [...others, ...now].slice(-this.#options.calls);
  }

  /** Fails every call that can't begin by its deadline. The calls behind it move up. */
  #dropLate(): void {
    const now = this.#clock.monotonic();
    let begins = this.#begins;
    this.#queue = this.#queue.filter((call) => {
      const at = earliestBegin(this.#options, begins, call.slots, now);
      if (at > call.deadline) {
        call.fail(this.#deadlineExceeded());
        return false;
      }
      begins = addBegins(begins, call.slots, at);
      return true;
    });
  }

  async #serve(): Promise<void> {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const now = this.#clock.monotonic();
      const at = earliestBegin(this.#options, this.#begins, next.slots, now);
      if (at > now) {
        this.#pause = new AbortController();
        await this.#clock.sleep(at - now, this.#pause.signal);
        this.#pause = undefined;
        continue;
      }
      this.#queue.shift();
      // The timer can be late, if the process was busy.
      if (now > next.deadline) {
        next.fail(this.#deadlineExceeded());
        continue;
      }
      this.#begins = addBegins(this.#begins, next.slots, now);
      next.begin(now);
    }
  }

  #deadlineExceeded(): RotationError {
    const { calls, windowMs, service = 'the service' } = this.#options;
    return deadlineExceeded(
      `A call to ${service} couldn't begin before the deadline of this run: the rotator makes at most ${calls} calls in ${windowMs / 1000} s.`,
    );
  }
}
