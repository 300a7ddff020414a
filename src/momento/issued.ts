/** What Momento issued, taken for a credential only if it is one. */
import { RotationError } from '../errors';
import type { Credential } from './credential';
import { InvalidPayload } from './payload';

/** @throws RotationError ISSUED_CREDENTIAL_INVALID if what was issued cannot be a payload */
export function accept(what: 'mint' | 'refresh', make: () => Credential): Credential {
  try {
    return make();
  } catch (thrown) {
    throw thrown instanceof InvalidPayload ? invalidIssue(what) : thrown;
  }
}

export function invalidIssue(what: 'mint' | 'refresh'): RotationError {
  return new RotationError(
    'ISSUED_CREDENTIAL_INVALID',
    `Momento's answer to the ${what} holds no complete credential, also when tried again, so nothing was stored. Readers ` +
      'keep the newest version. If the next run fails too, store a new key from the Momento console before that one expires.',
    { mayHaveHadEffect: true },
  );
}
