/** Asks Momento whether a key is good. */
import { ListCaches, MomentoErrorCode } from '@gomomento/sdk';
import { SECOND } from '../duration';
import type { Verdict } from '../rotation/ports';
import type { Credential } from './credential';
import type { KeyApi } from './key-api';
import type { Sdk } from './sdk';

/** How long Momento may take to say so. */
const TIMEOUT_MS = 10 * SECOND;

export interface Proof {
  readonly sdk: Sdk;
  readonly api: Pick<KeyApi, 'verify'>;
  /** The host to verify v2 keys with whose payload names none. */
  readonly endpoint: string | undefined;
}

/** A v2 key names no host to use it with: where nothing else does, the key API has to tell. */
export async function verify(
  credential: Credential,
  { sdk, api, endpoint = '' }: Proof,
): Promise<Verdict> {
  const host = credential.endpoint ?? endpoint;
  return credential.kind === 'v2' && host === ''
    ? api.verify(credential.apiKey)
    : listCaches(credential, host, sdk);
}

/**
 * Lists the caches, which is the cheapest call that Momento authenticates. That a key may not do so is said only to a key
 * that was accepted.
 */
async function listCaches(credential: Credential, host: string, sdk: Sdk): Promise<Verdict> {
  const client = sdk.cacheClient(credential, host);
  // A timer that goes when the answer is there: AbortSignal.timeout would hold on to the client for all of its time.
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
  try {
    const answer = await client.listCaches({ abortSignal: abort.signal });
    if (!(answer instanceof ListCaches.Error)) return 'accepted';
    switch (answer.errorCode()) {
      case MomentoErrorCode.AUTHENTICATION_ERROR:
        return 'rejected';
      case MomentoErrorCode.PERMISSION_ERROR:
      case MomentoErrorCode.CACHE_NOT_FOUND_ERROR:
        return 'accepted';
      default:
        return 'unclear';
    }
  } finally {
    clearTimeout(timer);
    client.close();
  }
}
