/** Spreads calls over time. PLACEHOLDER of the interface: the implementation follows in the next commit. */
import type { Clock } from './clock';

export interface Turn {
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
}

export class RateLimiter {
  constructor(_clock: Clock, _options: RateLimiterOptions) {
    throw new Error('not implemented');
  }

  /** Resolves when the caller's turn has come. */
  turn(_turn: Turn): Promise<void> {
    throw new Error('not implemented');
  }
}
