/** Verifies keys with the issuer, and repeats calls without a clear answer. */
import { SECOND } from '../duration';
import { toRotationError } from '../errors';
import { PROPAGATION_DELAY, VERIFY_RETRY_FOR } from './deadlines';
import type { Credential, CurrentKey, KeyCheck } from './ports';
import type { Run } from './run';
import type { IssuedCredential } from './unsaved';

const FIRST_PAUSE = 0.25 * SECOND;
const LONGEST_PAUSE = 2 * SECOND;

/**
 * Verifies a key that this run is about to add. After a rejection, the verification is repeated as long as the key might not
 * be known everywhere.
 *
 * If the host that rejects the new key also rejects the current key, it is probably the wrong host. Then the result is
 * inconclusive.
 *
 * @returns undefined if keys aren't verified
 */
export async function verifyIssued(
  run: Run,
  { credential, issuedAt }: IssuedCredential,
  current: CurrentKey | undefined,
): Promise<KeyCheck | undefined> {
  const { session, policy, deadlines } = run;
  if (!policy.verify) return undefined;
  const limits = { deadline: deadlines.latestAdd };
  const verify = (key: Credential): Promise<KeyCheck> => session.verifyNew(key, limits);
  const check = await verifyUntilConclusive(
    run,
    () => verify(credential),
    issuedAt + PROPAGATION_DELAY,
  );
  if (check.verdict !== 'rejected' || current === undefined) return check;
  const old = await verifyOrInconclusive(() => verify(current.credential));
  if (old.verdict !== 'rejected' || old.host !== check.host) return check;
  return {
    verdict: 'inconclusive',
    problem: `${check.host} rejects the new key and the current key alike`,
  };
}

/** Verifies the key that applications get. */
export async function verifyNewest(
  run: Run,
  { version, credential }: CurrentKey,
): Promise<KeyCheck | undefined> {
  const { session, policy, clock, deadlines } = run;
  if (!policy.verify) return undefined;
  const age = clock.now() - version.createdAt;
  return verifyUntilConclusive(
    run,
    () => session.verifyNewest(credential, { deadline: deadlines.end }),
    clock.monotonic() + PROPAGATION_DELAY - age,
  );
}

/** @param rejectionFinalAt from this time on a rejection is final. Earlier, the key might not be known everywhere yet */
async function verifyUntilConclusive(
  { clock }: Pick<Run, 'clock'>,
  verify: () => Promise<KeyCheck>,
  rejectionFinalAt: number,
): Promise<KeyCheck> {
  const giveUpAt = clock.monotonic() + VERIFY_RETRY_FOR;
  for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
    const check = await verifyOrInconclusive(verify);
    const end = check.verdict === 'rejected' ? rejectionFinalAt : giveUpAt;
    if (check.verdict === 'accepted' || clock.monotonic() + pause > end) return check;
    await clock.sleep(pause);
  }
}

/** Returns `inconclusive` if the call fails, because a failed call isn't a reason to discard a new key. */
export async function verifyOrInconclusive(verify: () => Promise<KeyCheck>): Promise<KeyCheck> {
  try {
    return await verify();
  } catch (thrown) {
    return {
      verdict: 'inconclusive',
      problem: `the verification failed with ${toRotationError(thrown).code}`,
    };
  }
}
