/** The rotations of many secrets: which of them, how many at once, which run joins which; and the look at them. */
import { mapConcurrently } from '../concurrency';
import { RotationError } from '../errors';
import { Budget, QUOTA_PATIENCE, STORE_PATIENCE } from '../rotation/budget';
import { readNewestEnabled } from '../rotation/gather';
import { PendingCredentials } from '../rotation/pending';
import type { KeySession, Secret } from '../rotation/ports';
import type { Report } from '../rotation/report';
import { rotate } from '../rotation/rotate';
import type { Environment, RunOptions } from '../rotation/run';
import { Trail } from '../rotation/trail';
import type { SecretName } from '../secret-name';
import { look, type Look } from './status';

/** How many secrets of one request are worked on at a time. */
const CONCURRENCY = 16;

export interface FleetOptions extends Environment {
  /** All secrets that may be rotated. */
  readonly secrets: readonly Secret[];
  /** The secret that holds the management key. */
  readonly managementKey?: SecretName;
}

/** Rotates secrets, one run at a time for each. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #pending = new PendingCredentials();
  readonly #inFlight = new Map<string, { force: boolean; report: Promise<Report> }>();

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  get secrets(): readonly Secret[] {
    return this.#options.secrets;
  }

  /**
   * Rotates the secrets that are due, and ends what is superseded; each on its own. Never throws.
   *
   * @param onReport called once for each run, when it ends
   */
  async rotate(
    secrets: readonly Secret[],
    options: RunOptions,
    onReport: (report: Report) => void,
  ): Promise<Report[]> {
    const budget = new Budget(this.#options.clock, options.deadline);
    return this.#inSession(budget, (session) =>
      mapConcurrently(CONCURRENCY, secrets, (secret) =>
        this.#rotateOne(secret, options, async () => {
          const trail = new Trail(this.#options.clock);
          const pending = this.#pending;
          const run = { ...this.#options, secret, options, session, pending, budget, trail };
          const report = await rotate(run);
          onReport(report);
          return report;
        }),
      ),
    );
  }

  /** Looks at every secret without changing anything. Never throws. */
  async status(): Promise<Look[]> {
    const { clock, secrets } = this.#options;
    const budget = new Budget(clock, clock.now() + STORE_PATIENCE);
    return this.#inSession(budget, (session) =>
      mapConcurrently(CONCURRENCY, secrets, (secret) =>
        look({ ...this.#options, secret, session, pending: this.#pending, budget }),
      ),
    );
  }

  /** A run that asks for the same as one in flight joins it. */
  async #rotateOne(
    { name }: Secret,
    { force, dryRun }: RunOptions,
    start: () => Promise<Report>,
  ): Promise<Report> {
    if (dryRun) return start();
    for (;;) {
      const running = this.#inFlight.get(name);
      if (running === undefined) break;
      const report = await running.report;
      if (running.force === force) return report;
    }
    const report = start();
    this.#inFlight.set(name, { force, report });
    try {
      return await report;
    } finally {
      this.#inFlight.delete(name);
    }
  }

  async #inSession<T>(budget: Budget, work: (session: KeySession) => Promise<T>): Promise<T> {
    const { keys, managementKey, clock } = this.#options;
    const limited = new Budget(clock, budget.within(QUOTA_PATIENCE));
    const session = keys.open(
      managementKey &&
        (() => readManagementKey({ ...this.#options, secret: managementKey, budget: limited })),
    );
    try {
      return await work(session);
    } finally {
      session.close();
    }
  }
}

/** The payload of the management key. */
async function readManagementKey(
  run: FleetOptions & { readonly secret: SecretName; readonly budget: Budget },
): Promise<Uint8Array> {
  const payload = await readNewestEnabled(run);
  if (payload !== undefined) return payload;
  throw new RotationError(
    'MANAGEMENT_KEY_INVALID',
    `${run.secret.name}, the secret of the management key, has no enabled version, so no key can be minted or revoked. ` +
      'Store a management key in it.',
  );
}
