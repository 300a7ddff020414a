/** What GET tells of one secret: gather and decide, and no run. */
import { defined } from '../defined';
import { isoTime, SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import { STORE_PATIENCE } from '../rotation/budget';
import { renewalTime } from '../rotation/decide';
import { gather } from '../rotation/gather';
import { unheldKeys } from '../rotation/held';
import type { IssuedBy, Version } from '../rotation/ports';
import { errorReport, type ErrorReport } from '../rotation/report';
import type { Run } from '../rotation/run';
import type { Found } from '../rotation/steps';
import type { SecretName } from '../secret-name';

export interface SecretStatus {
  readonly secret: string;
  /** The newest version, which `latest` names. */
  readonly version?: string;
  readonly state?: Version['state'];
  readonly ageSeconds?: number;
  /** The newest enabled version, where that is another one. What follows is about the key in it. */
  readonly enabledVersion?: string;
  readonly keyFingerprint?: string;
  readonly keyId?: string;
  readonly expiresAt?: string;
  readonly timeLeftSeconds?: number;
  /** RFC 3339, or what stands for it when every run rotates. */
  readonly nextRenewal?: string;
  readonly renewedBy?: IssuedBy;
  readonly enabledVersions?: number;
  readonly disabledVersions?: number;
  /** How many keys that were minted for this secret no enabled version holds. */
  readonly unheldKeys?: number;
  readonly warnings?: readonly string[];
  readonly error?: ErrorReport;
}

export interface Look {
  readonly status: SecretStatus;
  readonly httpStatus: number;
  readonly error?: RotationError;
}

type Looking = Pick<
  Run,
  'secret' | 'store' | 'keys' | 'session' | 'pending' | 'policy' | 'clock' | 'budget'
> & { readonly managementKey?: SecretName };

const WAITS =
  'a key that was issued is in no version yet, only in the memory of this instance: run the job before it is stopped';

export async function look(run: Looking): Promise<Look> {
  const secret = run.secret.name;
  try {
    const found = await gather(run, []);
    const { next } = found;
    const error = next instanceof RotationError ? next : undefined;
    const { warning, ...unheld } = await countUnheld(run, found);
    const waits = run.pending.of(run.secret) && WAITS;
    const warnings = [found.warning, waits, warning].filter((text) => text !== undefined);
    const status = {
      secret,
      ...describe(run, found),
      ...unheld,
      ...(warnings.length > 0 && { warnings }),
    };
    return error === undefined
      ? { httpStatus: 200, status }
      : { httpStatus: error.status, error, status: { ...status, error: errorReport(error) } };
  } catch (thrown) {
    const error = toRotationError(thrown);
    return { httpStatus: error.status, error, status: { secret, error: errorReport(error) } };
  }
}

function describe({ policy, clock }: Looking, found: Found): Omit<SecretStatus, 'secret'> {
  const { versions, newest, enabled, current, next } = found;
  const now = clock.now();
  const credential = current?.credential;
  const expiresAt = credential?.expiresAt === Infinity ? undefined : credential?.expiresAt;
  const isReadable = newest?.number === enabled?.number;
  const count = (state: Version['state']): number =>
    versions.filter((version) => version.state === state).length;
  return defined<Omit<SecretStatus, 'secret'>>({
    version: newest && String(newest.number),
    state: newest?.state,
    ageSeconds: newest && Math.floor((now - newest.createdAt) / SECOND),
    enabledVersion: enabled === undefined || isReadable ? undefined : String(enabled.number),
    keyFingerprint: credential?.fingerprint,
    keyId: credential?.keyId,
    expiresAt: expiresAt === undefined ? undefined : isoTime(expiresAt),
    timeLeftSeconds: expiresAt === undefined ? undefined : Math.floor((expiresAt - now) / SECOND),
    nextRenewal: nextRenewal(),
    renewedBy: next instanceof RotationError ? undefined : next.by,
    enabledVersions: count('ENABLED'),
    disabledVersions: count('DISABLED'),
  });

  function nextRenewal(): string | undefined {
    if (next instanceof RotationError) return undefined;
    if (policy.renewBefore === undefined) return 'every run';
    const due = current && renewalTime(current, policy);
    return due === undefined || due === -Infinity || !isReadable ? 'next run' : isoTime(due);
  }
}

/** Without a management key no key can be ours. A look that is not complete is better than none. */
async function countUnheld(
  run: Looking,
  { versions }: Found,
): Promise<{ unheldKeys?: number; warning?: string }> {
  if (run.managementKey === undefined) return {};
  try {
    const keys = await run.budget.tryFor(STORE_PATIENCE, () => run.session.ownKeys(run.secret));
    const ids = keys.map(({ keyId }) => keyId);
    const unheld = await unheldKeys(run, ids, versions);
    return unheld === undefined
      ? unknown('a version has just changed')
      : { unheldKeys: unheld.length };
  } catch (thrown) {
    return unknown(toRotationError(thrown).code);
  }

  function unknown(why: string): { warning: string } {
    return { warning: `which keys no version holds could not be looked up (${why})` };
  }
}
