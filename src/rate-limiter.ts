/** Spreads calls over time: within any window of time no more than a number of them begin. */
import type { Clock } from './clock';
import { RotationError } from './errors';

export interface RateLimitedCall {
  /** A turn that would come after this time on the monotonic clock fails at once with DEADLINE_EXCEEDED, and takes no slot. */
  readonly deadline: number;
  /** Lower numbers go first. */
  readonly priority: number;
  /** How many calls begin with this turn; 1 by default. */
  readonly slots?: number | undefined;
}

export interface RateLimiterOptions {
  /** How many calls can begin within `windowMs`. */
  readonly calls: number;
  readonly windowMs: number;
  /** The service that is called, for the error message. */
  readonly service?: string | undefined;
}

interface QueuedCall {
  readonly deadline: number;
  readonly priority: number;
  readonly slots: number;
  readonly begin: (at: number) => void;
  readonly fail: (error: RotationError) => void;
}

/** Within a priority, turns come in the order in which they were asked for. */
export class RateLimiter {
  readonly #clock: Clock;
  readonly #options: RateLimiterOptions;
  /** When the last `calls` calls began, in ascending order. */
  #begins: number[];
  /** By priority, then by arrival. */
  #queue: QueuedCall[] = [];
  /** Set while the first in the queue is waited for; aborting it looks at the queue again. */
  #waiting: AbortController | undefined;

  constructor(clock: Clock, options: RateLimiterOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#begins = Array<number>(options.calls).fill(-Infinity);
  }

  /**
   * Resolves when the caller's turn has come, with that time. A turn that later arrivals of a higher priority push past its deadline fails
   * when they arrive, so that its caller doesn't wait in vain.
   */
  acquire({ deadline, priority, slots = 1 }: RateLimitedCall): Promise<number> {
    const { calls } = this.#options;
    if (slots > calls) throw new RangeError(`${slots} slots of ${calls}`);
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
      if (this.#waiting === undefined) void this.#serve();
      // The new turn can be the next one, and need fewer slots than the one that is waited for.
      else if (position !== -1) this.#waiting.abort();
    });
  }

  /**
   * Counts the calls of a turn as begun now, if their caller did something else first. Otherwise they would meet the calls of
   * the next turn.
   *
   * @param at when the turn came
   */
  postpone(at: number, slots: number): void {
    const others = [...this.#begins];
    for (let slot = 0; slot < slots; slot += 1) {
      const index = others.indexOf(at);
      if (index !== -1) others.splice(index, 1);
    }
    const now = Array<number>(slots).fill(this.#clock.monotonic());
    this.#begins = [...others, ...now].slice(-this.#options.calls);
  }

  /** Fails every turn that can't come before its deadline; those behind it move up. */
  #dropLate(): void {
    const now = this.#clock.monotonic();
    let begins = this.#begins;
    this.#queue = this.#queue.filter((turn) => {
      const at = this.#earliest(begins, turn.slots, now);
      if (at > turn.deadline) {
        turn.fail(this.#late());
        return false;
      }
      begins = this.#after(begins, turn.slots, at);
      return true;
    });
  }

  async #serve(): Promise<void> {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const now = this.#clock.monotonic();
      const at = this.#earliest(this.#begins, next.slots, now);
      if (at > now) {
        this.#waiting = new AbortController();
        await this.#clock.sleep(at - now, this.#waiting.signal);
        this.#waiting = undefined;
        continue;
      }
      this.#queue.shift();
      // The timer can be late, if the process was busy.
      if (now > next.deadline) {
        next.fail(this.#late());
        continue;
      }
      this.#begins = this.#after(this.#begins, next.slots, now);
      next.begin(now);
    }
  }

  /** When this many calls can begin together: when as many of the last ones have left the window. */
  #earliest(begins: readonly number[], slots: number, now: number): number {
    return Math.max(now, (begins[slots - 1] ?? -Infinity) + this.#options.windowMs);
  }

  #after(begins: readonly number[], slots: number, at: number): number[] {
    return [...begins.slice(slots), ...Array<number>(slots).fill(at)];
  }

  #late(): RotationError {
    const { calls, windowMs, service = 'the service' } = this.#options;
    return new RotationError('DEADLINE_EXCEEDED', {
      problem: `The rotator calls ${service} at most ${calls} times in ${windowMs / 1000} s, and other calls go first until the time of this run is over.`,
      action:
        'Wait for the next run. If it fails as well, rotate fewer secrets at once, or raise TIMEOUT.',
    });
  }
}
