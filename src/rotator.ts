/** The rotations of many secrets: which run joins which, and the look at a secret that changes nothing. */
import { toRotationError, type RotationError } from './errors';
import { renewalTime, type Version } from './renewal';
import {
  errorReport,
  isoTime,
  Run,
  STORE_PATIENCE,
  type RotationReport,
  type RotationResult,
  type RotatorOptions,
  type RunOptions,
  type Unstored,
} from './rotation';
import type { SecretName } from './secret-name';

const SECOND = 1000;

/** What GET tells of one secret. */
export interface SecretStatus {
  secret: string;
  version?: string;
  state?: Version['state'];
  ageSeconds?: number;
  keyFingerprint?: string;
  expiresAt?: string;
  timeLeftSeconds?: number;
  /** RFC 3339, or what stands for it when every run rotates. */
  nextRenewal?: string;
  enabledVersions?: number;
  disabledVersions?: number;
  error?: RotationResult['error'];
}

/** Rotates secrets, one run at a time for each. */
export class Rotator {
  readonly #options: RotatorOptions;
  readonly #inFlight = new Map<string, { force: boolean; report: Promise<RotationReport> }>();
  readonly #unstored = new Map<string, Unstored>();

  constructor(options: RotatorOptions) {
    this.#options = options;
  }

  /**
   * Rotates a secret if it is due, and retires and destroys what is due to be. Never throws. A run that asks for the
   * same as one in flight joins it, and is told so.
   */
  async rotate(
    secret: SecretName,
    options: RunOptions,
  ): Promise<{ report: RotationReport; joined: boolean }> {
    const start = (): Promise<RotationReport> =>
      new Run(secret, options, this.#options, this.#unstored).report();
    if (options.dryRun) return { report: await start(), joined: false };

    for (;;) {
      const running = this.#inFlight.get(secret.name);
      if (running === undefined) break;
      const report = await running.report;
      if (running.force === options.force) return { report, joined: true };
    }
    const report = start();
    this.#inFlight.set(secret.name, { force: options.force, report });
    try {
      return { report: await report, joined: false };
    } finally {
      this.#inFlight.delete(secret.name);
    }
  }

  /** Looks at a secret without changing anything. Never throws. */
  async status(
    secret: SecretName,
  ): Promise<{ status: SecretStatus; httpStatus: number; error?: RotationError }> {
    const { policy, clock } = this.#options;
    const now = clock.now();
    const run = new Run(
      secret,
      { force: false, dryRun: true, deadline: now + STORE_PATIENCE },
      this.#options,
      this.#unstored,
    );
    try {
      const { versions, newest, current, credential } = await run.gather([]);
      this.#options.issuer.check(credential);
      const { expiresAt } = credential;
      const due = renewalTime({ version: current, expiresAt }, policy);
      return {
        httpStatus: 200,
        status: {
          secret: secret.name,
          version: String(newest.number),
          state: newest.state,
          ageSeconds: Math.floor((now - newest.createdAt) / SECOND),
          keyFingerprint: credential.fingerprint,
          expiresAt: isoTime(expiresAt),
          timeLeftSeconds: Math.floor((expiresAt - now) / SECOND),
          nextRenewal: due === undefined ? 'every run' : isoTime(due),
          enabledVersions: versions.filter(({ state }) => state === 'ENABLED').length,
          disabledVersions: versions.filter(({ state }) => state === 'DISABLED').length,
        },
      };
    } catch (thrown) {
      const error = toRotationError(thrown);
      return {
        httpStatus: error.status,
        error,
        status: { secret: secret.name, error: errorReport(error, 'gather') },
      };
    }
  }
}
