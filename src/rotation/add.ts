/** Stores an issued credential as the newest version, which promotes it for every reader of `latest`. */
import { MINUTE } from '../duration';
import { RotationError, toRotationError } from '../errors';
import { retry } from '../retry';
import { MINTED_KEY_PATIENCE } from './budget';
import type { Version } from './ports';
import type { Run } from './run';
import type { Found, Issued } from './steps';
import { newestVersion } from './versions';

export async function add(run: Run, issued: Issued, found: Found): Promise<Version> {
  const { secret, store, pending, budget, clock } = run;
  const payload = issued.credential.serialize();
  // What is tried later than this may meet a sweep that takes the key for an orphan.
  const tooLate = issued.by === 'mint' ? issued.issuedAt + MINTED_KEY_PATIENCE : Infinity;
  const latestTry = Math.min(budget.latestAdd, tooLate);
  let mayBeStored = false;
  const attempt = async (): Promise<Version> => {
    if (clock.now() > tooLate) throw mintedTooLongAgo();
    const stored = mayBeStored ? await findStored(run, payload, issued.newest) : undefined;
    if (stored !== undefined) return stored;
    try {
      return await store.add(secret, payload);
    } catch (thrown) {
      mayBeStored ||= toRotationError(thrown).mayHaveHadEffect;
      throw thrown;
    }
  };
  try {
    const added = await retry(clock, attempt, () => latestTry, mayPass);
    pending.drop(secret);
    warnAbout(run, found, added);
    return added;
  } catch (thrown) {
    const cause = toRotationError(thrown);
    // Another can be made; and this one may have been stored, so it is left alone.
    if (issued.by === 'mint') throw cause;
    throw new RotationError(
      'CREDENTIAL_NOT_STORED',
      `A new key was issued but could not be stored (${cause.code}: ${cause.message}). Readers get what they got before. ` +
        'This instance keeps the new key in memory and stores it in its next run: put right what is said above and ' +
        'run the job again at once, before the instance is stopped.',
      { cause },
    );
  }
}

/** What was had to look at the secret is not gone for good. */
function mayPass({ code, retryable }: RotationError): boolean {
  return retryable || code === 'CREDENTIALS_UNAVAILABLE';
}

function mintedTooLongAgo(): RotationError {
  return new RotationError(
    'DEADLINE_EXCEEDED',
    `The new key was minted more than ${MINTED_KEY_PATIENCE / MINUTE} minutes ago, so it was not added: another run may take ` +
      'it for a key that nobody holds, and revoke it. Readers get what they got before. The next run mints another.',
  );
}

function warnAbout({ keys, trail }: Run, { newest, current }: Found, added: Version): void {
  if (added.number <= (newest?.number ?? 0)) {
    trail.warn('the secret was deleted and made anew during the run; nothing was retired');
  }
  if (current?.credential.expiresAt === Infinity) {
    const { version, credential } = current;
    trail.warn(
      `the key of version ${version.number} (${credential.keyId ?? credential.fingerprint}) never expires, and is not ours to ` +
        `revoke: end it at ${keys.vendor} when nobody uses it any more`,
    );
  }
}

/** The version with this payload, if the answer of an earlier try to add it was lost. A second copy would be harmless. */
async function findStored(
  { secret, store }: Run,
  payload: Uint8Array,
  before: number,
): Promise<Version | undefined> {
  try {
    const newest = newestVersion(await store.list(secret));
    if (newest === undefined || newest.number <= before) return undefined;
    const accessed = await store.access(secret, newest.number);
    return accessed !== undefined && Buffer.compare(payload, accessed.payload) === 0
      ? newest
      : undefined;
  } catch {
    return undefined;
  }
}
