/** Limits how many calls are in progress. */
import { withDeadline, type Clock } from './clock';
import { RotationError } from './errors';

/** The first to come is served first. */
export class Semaphore {
  readonly #clock: Clock;
  readonly #service: string;
  readonly #waiting = new Set<() => void>();
  #free: number;

  /** @param service that is called, for the error message */
  constructor(clock: Clock, limit: number, service: string) {
    this.#clock = clock;
    this.#free = limit;
    this.#service = service;
  }

  /**
   * Makes a call when fewer than `limit` others are in progress.
   *
   * @param deadline on the monotonic clock. A call that can't begin by then fails with DEADLINE_EXCEEDED
   */
  async run<T>(deadline: number, call: () => Promise<T>): Promise<T> {
    if (this.#clock.monotonic() > deadline) throw this.#late();
    if (this.#free === 0) await this.#turn(deadline);
    else this.#free -= 1;
    try {
      return await call();
    } finally {
      this.#release();
    }
  }

  async #turn(deadline: number): Promise<void> {
    let begin = (): void => undefined;
    const turn = new Promise<void>((resolve) => {
      begin = resolve;
      this.#waiting.add(begin);
    });
    await withDeadline(this.#clock, deadline, turn, () => {
      // A turn that came at the last moment is used.
      if (this.#waiting.delete(begin)) throw this.#late();
    });
  }

  /** The next call takes the place over. */
  #release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }

  #late(): RotationError {
    return new RotationError('DEADLINE_EXCEEDED', {
      problem: `Other calls to ${this.#service} were in progress until the time of this run was over.`,
      action:
        'Wait for the next run. If it fails as well, rotate fewer secrets at once, or raise TIMEOUT.',
    });
  }
}
