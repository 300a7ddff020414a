/** Starts the runs of a request. One run at a time for each secret; runs of one request share a session. */
import { withDeadline, type Clock } from '../clock';
import { SECOND } from '../duration';
import { deadlineExceeded, RotationError } from '../errors';
import { isSameSecret, type SecretName } from '../secret-name';
import { Deadlines, QUOTA_RETRY_FOR, RETRY_FOR } from './deadlines';
import { notResponded, respond, type CompromiseOptions, type CompromiseRun } from './compromise';
import { inspect, readAnother, readNewestEnabled } from './inspect';
import { newestKeys, type NewestKey } from './key-usage';
import { permissionsFor } from './policy';
import type { KeySession, Secret, SessionOptions, StoredPayload } from './ports';
import { notStored } from './renew';
import { failedRun, resultOf, rotate } from './rotate';
import type { RunResult } from './result';
import { StepTimings, type Dependencies, type Run, type RunOptions } from './run';
import { failedStatus, statusOf, type StatusReport } from './status';
import { UnsavedCredentials } from './unsaved';

/** The compromise responses of one request share a reading of all newest keys, if the reading began this recently. */
const NEWEST_KEYS_FRESH_FOR = 10 * SECOND;

interface RotatorOptions extends Dependencies {
  /** All secrets that can be rotated. */
  readonly secrets: readonly Secret[];
  /** The secret that contains the management key. */
  readonly managementKey?: SecretName | undefined;
}

/** The values that the runs of one request share. */
interface Request {
  readonly secrets: readonly Secret[];
  readonly session: KeySession;
  readonly deadlines: Deadlines;
  readonly newestKeys: () => Promise<readonly NewestKey[]>;
}

interface Running {
  readonly force: boolean;
  /** Whether a later caller can share the result. Messages and compromise responses compare versions with their own times. */
  readonly canBeJoined: boolean;
  readonly result: Promise<RunResult>;
}

/** Rotates secrets, one run at a time for each secret. */
export class Rotator {
  readonly #options: RotatorOptions;
  readonly #unsaved = new UnsavedCredentials();
  readonly #running = new Map<string, Running>();
  readonly #canonicalNames = new Map<string, string>();

  constructor(options: RotatorOptions) {
    this.#options = options;
  }

  get secrets(): readonly Secret[] {
    return this.#options.secrets;
  }

  /**
   * Rotates secrets that are due, and cleans up. All runs begin at once, and the clients of the services limit the calls. So a
   * slow service or a used-up quota delays only the secrets that need it. Never throws.
   *
   * @param onResult called once for each run, when it ends
   */
  async rotate(
    secrets: readonly Secret[],
    options: RunOptions,
    onResult: (result: RunResult) => void,
  ): Promise<RunResult[]> {
    const deadlines = new Deadlines(this.#options.clock, options.deadline);
    return this.#inSession(deadlines, (session) => {
      const request = this.#newRequest(secrets, session, deadlines);
      return Promise.all(
        secrets.map((secret) => {
          const run = this.#newRun(secret, options, request);
          return this.#oneAtATime(run, () => rotate(run), onResult);
        }),
      );
    });
  }

  /**
   * Responds to compromised keys: adds new keys, revokes the old ones, and disables their versions. The secret of the
   * management key comes first, because the other secrets need the new management key.
   *
   * @param onResult called once for each secret, when its response ends
   * @throws RotationError INVALID_REQUEST if `revokeFirst` is set and the keys of a secret aren't minted. Then nothing was done
   */
  async respond(
    secrets: readonly Secret[],
    options: CompromiseOptions & { readonly deadline: number },
    onResult: (result: RunResult) => void,
  ): Promise<RunResult[]> {
    const deadlines = new Deadlines(this.#options.clock, options.deadline);
    if (options.revokeFirst) await this.#requireMinted(secrets, deadlines);
    const managers = secrets.filter((secret) => this.#isManager(secret));
    const others = secrets.filter((secret) => !managers.includes(secret));
    const first = await this.#respondTo(managers, options, onResult);
    const version = first.length === 1 ? first[0]?.result.version : undefined;
    const rest = await this.#respondTo(
      others,
      options,
      onResult,
      version === undefined ? undefined : Number(version),
    );
    const results = new Map([...first, ...rest].map((run) => [run.result.secret, run]));
    return secrets.flatMap(({ name }) => results.get(name) ?? []);
  }

  /** Reports secrets without changing anything. Never throws. */
  async status(secrets = this.secrets): Promise<StatusReport[]> {
    const { clock } = this.#options;
    const deadline = clock.monotonic() + RETRY_FOR;
    const deadlines = new Deadlines(clock, deadline);
    const options = { force: false, dryRun: true, deadline };
    return this.#inSession(deadlines, (session) => {
      const request = this.#newRequest(secrets, session, deadlines);
      return Promise.all(
        secrets.map((secret) => {
          const run = this.#newRun(secret, options, request);
          const status = statusOf({ ...run, managementKey: this.#options.managementKey });
          return withDeadline(clock, deadline, status, () =>
            failedStatus(secret, statusExceededDeadline(secret)),
          );
        }),
      );
    });
  }

  /** @param managementVersion the version with the management key; the newest one by default */
  async #respondTo(
    secrets: readonly Secret[],
    options: CompromiseOptions & { readonly deadline: number },
    onResult: (result: RunResult) => void,
    managementVersion?: number,
  ): Promise<RunResult[]> {
    const { clock, managementKey, secrets: configured } = this.#options;
    const deadlines = new Deadlines(clock, options.deadline);
    const runOptions = { force: true, dryRun: false, deadline: options.deadline };
    const renewals = new Map(
      secrets.map((secret) => [secret.name, Promise.withResolvers<undefined>()]),
    );
    const newest = sharedFor(NEWEST_KEYS_FRESH_FOR, clock, () => this.#newestKeys(deadlines));
    return Promise.all(
      secrets.map((secret) => {
        const open = (version = managementVersion): KeySession =>
          this.#openSession(deadlines, { isUrgent: true }, version);
        return usingSession(open(), (session) => {
          const request = this.#newRequest(secrets, session, deadlines);
          const run: CompromiseRun = {
            ...this.#newRun(secret, runOptions, request),
            compromise: options,
            hasManagementKey: managementKey !== undefined,
            newestKeys: newest,
            configured,
            inSession: (version, work) =>
              usingSession(open(this.#isManager(secret) ? version : undefined), work),
            onRenewed: () => renewals.get(secret.name)?.resolve(undefined),
            renewalOf: async (name) => renewals.get(name)?.promise,
          };
          return this.#oneAtATime(run, () => respond(run), onResult);
        });
      }),
    );
  }

  /**
   * Inspects all secrets before the first response begins, because a refused request must not have an effect. Each response
   * inspects its secret again: it might have waited for a rotation.
   *
   * @throws RotationError INVALID_REQUEST
   */
  async #requireMinted(secrets: readonly Secret[], deadlines: Deadlines): Promise<void> {
    const { managementKey, policy } = this.#options;
    const refusal = async (run: Run): Promise<RotationError | undefined> => {
      if (managementKey === undefined) return notMinted(run.secret);
      // If the inspection fails, the response fails with a clearer error before it revokes a key.
      const inspection = await inspect(run, permissionsFor(policy)).catch(() => undefined);
      const next = inspection?.next;
      if (next === undefined || next instanceof RotationError) return undefined;
      if (next.by !== 'mint') return notMinted(run.secret);
      return next.needsCurrentKey === true ? needsTerms(run.secret) : undefined;
    };
    await usingSession(this.#openSession(deadlines, { isUrgent: true }), async (session) => {
      const request = this.#newRequest(secrets, session, deadlines);
      const options = { force: false, dryRun: true, deadline: deadlines.end };
      const refusals = await Promise.all(
        secrets.map((secret) => refusal(this.#newRun(secret, options, request))),
      );
      const first = refusals.find((error) => error !== undefined);
      if (first !== undefined) throw first;
    });
  }

  #isManager(secret: Secret): boolean {
    const { managementKey } = this.#options;
    return managementKey !== undefined && isSameSecret(secret, managementKey);
  }

  #newRequest(secrets: readonly Secret[], session: KeySession, deadlines: Deadlines): Request {
    let found: Promise<readonly NewestKey[]> | undefined;
    return {
      secrets,
      session,
      deadlines,
      newestKeys: () => (found ??= this.#newestKeys(deadlines)),
    };
  }

  /** If only one secret is configured, no other secret can contain its keys. */
  #newestKeys(deadlines: Deadlines): Promise<readonly NewestKey[]> {
    return newestKeys({ ...this.#options, deadlines }, this.secrets.length > 1 ? this.secrets : []);
  }

  #newRun(secret: Secret, options: RunOptions, request: Request): Run {
    const { session, deadlines } = request;
    return {
      ...this.#options,
      secret,
      options,
      session,
      deadlines,
      unsaved: this.#unsaved,
      timings: new StepTimings(this.#options.clock),
      earlierNameOf: (canonicalName) => this.#earlierNameOf(secret, canonicalName, request),
      keyIdsInOtherSecrets: async () => {
        const newest = await request.newestKeys();
        return new Set(newest.flatMap((key) => (key.secret === secret.name ? [] : key.keyId)));
      },
    };
  }

  /**
   * One run at a time for each secret. A run with the same options as the running one shares its result. Any other run waits
   * until the running one ends. Every wait and every run ends at its deadline, so a call that hangs doesn't block later runs.
   */
  async #oneAtATime(
    run: Run | CompromiseRun,
    work: () => Promise<RunResult>,
    onResult: (result: RunResult) => void,
  ): Promise<RunResult> {
    const { secret, options, deadlines } = run;
    const { clock } = this.#options;
    const atDeadline = (): RunResult => {
      const isUnsaved = run.unsaved.get(secret) !== undefined;
      const error = isUnsaved
        ? notStored(runExceededDeadline(secret))
        : runExceededDeadline(secret);
      const failure = { step: isUnsaved ? 'add' : 'inspect', error } as const;
      return 'compromise' in run ? notResponded(run, failure) : resultOf(run, failedRun(failure));
    };
    const start = async (): Promise<RunResult> => {
      const result = await withDeadline(clock, deadlines.end, work(), atDeadline);
      onResult(result);
      return result;
    };
    if (options.dryRun) return start();
    const canBeJoined = options.publishedAt === undefined && !('compromise' in run);
    for (;;) {
      const running = this.#running.get(secret.name);
      if (running === undefined) break;
      const joined = await withDeadline<RunResult | undefined>(
        clock,
        deadlines.end,
        running.result,
        () => undefined,
      );
      if (joined === undefined) {
        const result = atDeadline();
        onResult(result);
        return result;
      }
      if (running.canBeJoined && canBeJoined && running.force === options.force) return joined;
    }
    const running: Running = { force: options.force, canBeJoined, result: start() };
    this.#running.set(secret.name, running);
    try {
      return await running.result;
    } finally {
      this.#running.delete(secret.name);
    }
  }

  /**
   * Another name of this secret that comes earlier in the request, if there is one. A project has an id and a number, so a
   * secret has two names. Only Secret Manager's answers show that both names mean one secret. If Secret Manager doesn't answer
   * about the other name, the names count as two secrets: a failure of one secret must not fail another.
   */
  async #earlierNameOf(
    secret: Secret,
    canonicalName: string | undefined,
    { secrets: requested, deadlines }: Request,
  ): Promise<string | undefined> {
    if (canonicalName === undefined) return undefined;
    this.#canonicalNames.set(secret.name, canonicalName);
    const { secrets, store } = this.#options;
    const before = secrets
      .slice(0, secrets.indexOf(secret))
      .filter(({ id, location }) => id === secret.id && location === secret.location)
      .filter((other) => requested.includes(other));
    for (const other of before) {
      let name = this.#canonicalNames.get(other.name);
      if (name === undefined) {
        const listed = store.list(other, { deadline: deadlines.end });
        name = await listed.then(({ canonicalName: found }) => found).catch(() => undefined);
        if (name !== undefined) this.#canonicalNames.set(other.name, name);
      }
      if (name === canonicalName) return other.name;
    }
    return undefined;
  }

  #inSession<T>(deadlines: Deadlines, work: (session: KeySession) => Promise<T>): Promise<T> {
    return usingSession(this.#openSession(deadlines), work);
  }

  /** @param version the version with the management key; the newest one by default */
  #openSession(deadlines: Deadlines, options?: SessionOptions, version?: number): KeySession {
    const { keys, managementKey, clock } = this.#options;
    const limited = new Deadlines(clock, deadlines.in(QUOTA_RETRY_FOR));
    return keys.open(
      managementKey && {
        name: managementKey.name,
        read: (rejected) =>
          readManagementKey(
            { ...this.#options, secret: managementKey, deadlines: limited },
            version,
            rejected,
          ),
      },
      options,
    );
  }
}

/** Returns a function whose calls share one result for `ms`. */
function sharedFor<T>(ms: number, clock: Clock, read: () => Promise<T>): () => Promise<T> {
  let last: Promise<T> | undefined;
  let until = -Infinity;
  return () => {
    const now = clock.monotonic();
    if (last === undefined || now >= until) {
      last = read();
      until = now + ms;
    }
    return last;
  };
}

async function usingSession<T>(
  session: KeySession,
  work: (session: KeySession) => Promise<T>,
): Promise<T> {
  try {
    return await work(session);
  } finally {
    session.close();
  }
}

async function readManagementKey(
  context: RotatorOptions & { readonly secret: SecretName; readonly deadlines: Deadlines },
  version: number | undefined,
  rejected: readonly number[],
): Promise<StoredPayload | undefined> {
  const { secret, store, deadlines } = context;
  if (rejected.length > 0) return readAnother(context, rejected);
  const access =
    version === undefined
      ? undefined
      : await deadlines.retry((limits) => store.access(secret, version, limits));
  return access?.kind === 'payload' ? access : readNewestEnabled(context);
}

function runExceededDeadline({ name }: SecretName): RotationError {
  return deadlineExceeded(`The run for ${name} didn't end before its deadline.`);
}

function notMinted({ name }: SecretName): RotationError {
  return new RotationError('INVALID_REQUEST', {
    problem: `The request is invalid, because the keys of ${name} aren't minted, and 'revokeFirst' needs minted keys. Nothing was done.`,
    action: "Repeat the request without 'revokeFirst'.",
  });
}

/** An issuer doesn't list revoked keys, so a second attempt couldn't find the role and the lifetime. */
function needsTerms({ name }: SecretName): RotationError {
  return new RotationError('INVALID_REQUEST', {
    problem: `The request is invalid. The role or the lifetime for ${name} isn't configured, so the rotator reads it from the issuer's list of keys. After 'revokeFirst', that list doesn't contain the key. Nothing was done.`,
    action: `Configure the role and the lifetime of ${name}, or repeat the request without 'revokeFirst'.`,
  });
}

function statusExceededDeadline({ name }: SecretName): RotationError {
  return deadlineExceeded(
    `The inspection of ${name} didn't end within ${RETRY_FOR / SECOND} seconds.`,
    'Repeat the request. If it fails again, check whether Secret Manager is available.',
  );
}
