/** Momento documents 5 operations a second and account; a little more than a second allows for the way there. */
import type { Clock } from '../retry';

const CALLS = 5;
const WINDOW_MS = 1_100;

/** Spreads the calls of all sessions: no window of time sees more than CALLS of them begin. First come, first served. */
export class Pace {
  readonly #clock: Clock;
  /** When the last CALLS calls begin. */
  #begins: number[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async turn(): Promise<void> {
    const now = this.#clock.now();
    const [oldest = -Infinity] = this.#begins.length < CALLS ? [] : this.#begins;
    const begin = Math.max(now, oldest + WINDOW_MS);
    this.#begins = [...this.#begins, begin].slice(-CALLS);
    if (begin > now) await this.#clock.sleep(begin - now);
  }
}
