/** Proves a key with its issuer, and looks whether somebody else added a version meanwhile. */
import { isoTime, SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import { NEW_KEY_LAG, STORE_PATIENCE, VERIFY_PATIENCE } from './budget';
import type { Credential, Verdict } from './ports';
import type { Run } from './run';
import type { Found, Issued, Superseded } from './steps';
import { newestVersion } from './versions';

/** What this run knows about a key that it issued: `unclear` must not keep it from being added, for it must not be lost. */
export async function verifyIssued(
  run: Run,
  issued: Issued,
  found: Found,
): Promise<Exclude<Verdict, 'rejected'> | Superseded> {
  const { secret, pending, keys, policy, trail } = run;
  const [verdict, superseded] = await Promise.all([
    prove(run, issued.credential, issued.issuedAt),
    findSuccessor(run, found),
  ]);
  if (superseded !== undefined) {
    pending.drop(secret);
    await discard(run, issued);
    return superseded;
  }
  if (verdict === 'rejected') {
    await discard(run, issued);
    throw new RotationError(
      'NEW_KEY_REJECTED',
      `${keys.vendor} rejects the key that it issued, so it was not added. ${readersKeep(found)} ` +
        (issued.by === 'mint'
          ? 'The next run makes another. '
          : 'This instance keeps the new key, and its next run asks about it again before it issues another one. ') +
        `If that fails too, ask ${keys.vendor}, and before the expiry store ${keys.remedy}.`,
    );
  }
  if (verdict === 'unclear' && policy.verify) {
    trail.warn(`${keys.vendor} gave no clear answer about the new key; it was added unproved`);
  }
  return verdict;
}

/** Asks about a key until there is a clear answer that the key's age leaves no doubt about. */
export async function prove(run: Run, credential: Credential, issuedAt: number): Promise<Verdict> {
  const { clock, policy } = run;
  if (!policy.verify) return 'unclear';
  const startedAt = clock.now();
  for (let pause = 0.25 * SECOND; ; pause = Math.min(pause * 2, 2 * SECOND)) {
    const verdict = await ask(run, credential);
    const giveUpAt = verdict === 'rejected' ? issuedAt + NEW_KEY_LAG : startedAt + VERIFY_PATIENCE;
    if (verdict === 'accepted' || clock.now() + pause > giveUpAt) return verdict;
    await clock.sleep(pause);
  }
}

/** Whatever goes wrong here says nothing about the key, which must not be lost for it. */
export async function ask(
  { policy, session }: Pick<Run, 'policy' | 'session'>,
  credential: Credential,
): Promise<Verdict> {
  return policy.verify ? session.verify(credential).catch(() => 'unclear') : 'unclear';
}

/** A version that somebody added since the secret was looked at. When in doubt there is none: nothing may be lost. */
export async function findSuccessor(
  { secret, store, budget, trail }: Run,
  { newest }: Found,
): Promise<Superseded | undefined> {
  try {
    // A key that is in no version yet must not wait for long.
    const versions = await budget.tryFor(
      STORE_PATIENCE,
      () => store.list(secret),
      budget.latestAdd,
    );
    const seen = newestVersion(versions);
    if (seen === undefined || seen.number <= (newest?.number ?? 0)) return undefined;
    return { supersededBy: seen };
  } catch (thrown) {
    trail.warn(
      `could not see whether a version was added meanwhile (${toRotationError(thrown).code})`,
    );
    return undefined;
  }
}

/** Ends a minted key that no version will hold. If that fails, the key is an orphan that a later run finds. */
async function discard(
  { session, budget, trail }: Run,
  { by, credential: { keyId } }: Issued,
): Promise<void> {
  if (by !== 'mint' || keyId === undefined) return;
  try {
    await budget.tryFor(STORE_PATIENCE, () => session.revoke(keyId), budget.latestAdd);
    trail.discarded.push(keyId);
  } catch (thrown) {
    trail.warn(
      `the new key ${keyId}, which no version holds, could not be revoked (${toRotationError(thrown).code}); ` +
        'it ends at its expiry, or before, where REVOKE is on',
    );
  }
}

function readersKeep({ current }: Found): string {
  if (current === undefined) return 'Readers get nothing.';
  const { expiresAt } = current.credential;
  return expiresAt === Infinity
    ? 'Readers keep the newest version.'
    : `Readers keep the newest version, whose key expires at ${isoTime(expiresAt)}.`;
}
