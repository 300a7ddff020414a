/** Calls Momento over gRPC with v1 keys that the test bed generates. v1 keys can't be revoked, so they expire soon. */
import { randomBytes } from 'node:crypto';
import {
  AllCaches,
  ExpiresIn,
  GenerateApiKey,
  ListCaches,
  PermissionScopes,
  RefreshApiKey,
} from '@gomomento/sdk';
import { MINUTE, SECOND } from '../../src/duration';
import { Credential } from '../../src/momento/credential';
import { acceptV1 } from '../../src/momento/refresh';
import { closeAuthClient, closeCacheClient, Sdk } from '../../src/momento/sdk';
import type { CallLimits } from '../../src/rotation/ports';
import { failed, NotChecked, once } from './assumption';
import type { TestBed } from './group';
import type { Target } from './target';

export const LIFETIME = 10 * MINUTE;
/** The lifetime of a key that expires during the checks. */
const SHORT_LIFETIME = MINUTE;

export interface Generated {
  readonly credential: Credential;
  readonly askedAt: number;
}

export class AuthClientTestBed implements TestBed {
  readonly target: Target;
  readonly superUserKey: Credential;
  readonly sdk: Sdk;

  /** @throws NotChecked without a super user key */
  constructor(target: Target) {
    if (target.v1Key === undefined) throw new NotChecked('CONFORMANCE_V1_KEY is not set');
    this.target = target;
    this.superUserKey = target.v1Key;
    this.sdk = new Sdk(target.clock, target.momento.emulator);
  }

  /** A key that can read every cache, and do nothing else. */
  readonly first = once(() => this.#generate(LIFETIME));
  readonly expired = once(async () => {
    const { clock } = this.target;
    const { credential } = await this.#generate(SHORT_LIFETIME);
    await clock.sleep(credential.expiresAt + 5 * SECOND - clock.now());
    return credential;
  });

  readonly wrongToken = once(async () =>
    this.refresh((await this.first()).credential, randomBytes(32).toString('base64url')),
  );
  /** The key after a refresh with the function's own call. */
  readonly refreshed = once(async (): Promise<Generated> => {
    const { credential } = await this.first();
    const askedAt = this.target.clock.now();
    const answer = await this.sdk.refresh(credential, this.#limits());
    if (!(answer instanceof RefreshApiKey.Success)) {
      return failed(`no key was refreshed (${answer.errorCode()})`);
    }
    const { credential: issued } = acceptV1(credential, answer, askedAt);
    return { credential: Credential.parse(issued.serialize()), askedAt };
  });
  readonly refreshedAgain = once(async () => {
    await this.refreshed();
    const { credential } = await this.first();
    return this.refresh(credential, credential.refreshToken ?? '');
  });

  /** Refreshes a key. Returns `Success` or the SDK's error code. */
  async refresh(credential: Credential, refreshToken: string): Promise<string> {
    const client = this.sdk.authClient(credential);
    try {
      const answer = await client.refreshApiKey(refreshToken);
      return answer instanceof RefreshApiKey.Error ? answer.errorCode() : 'Success';
    } finally {
      closeAuthClient(client);
    }
  }

  /** Verifies a key with the function's own call. */
  async verify(credential: Credential): Promise<string> {
    return (await this.sdk.check(credential, '', this.#limits())).verdict;
  }

  /** Calls ListCaches. Returns `Success` or the SDK's error code. */
  async listCaches(credential: Credential): Promise<string> {
    const client = this.sdk.cacheClient(credential, '');
    try {
      const answer = await client.listCaches();
      return answer instanceof ListCaches.Error ? answer.errorCode() : 'Success';
    } finally {
      closeCacheClient(client);
    }
  }

  #limits(): CallLimits {
    return { deadline: this.target.clock.monotonic() + MINUTE };
  }

  remove(): Promise<string[]> {
    return Promise.resolve([]);
  }

  async #generate(lifetimeMs: number): Promise<Generated> {
    await this.#agree();
    const askedAt = this.target.clock.now();
    const client = this.sdk.authClient(this.superUserKey);
    try {
      const answer = await client.generateApiKey(
        PermissionScopes.cacheReadOnly(AllCaches),
        ExpiresIn.seconds(lifetimeMs / SECOND),
      );
      if (!(answer instanceof GenerateApiKey.Success)) {
        return failed(`no key was generated (${answer.errorCode()})`);
      }
      const { apiKey, refreshToken, expiresAt } = answer;
      const payload = JSON.stringify({ apiKey, refreshToken, validUntil: expiresAt.epoch() });
      return { credential: Credential.parse(Buffer.from(payload)), askedAt };
    } finally {
      closeAuthClient(client);
    }
  }

  readonly #agree = once(async () => {
    const question =
      'Generate two v1 keys that can read every cache, for ten minutes and for one, and use the refresh token of the first? ' +
      "v1 keys can't be revoked: these keys and the refreshed key stay valid until they expire.";
    if (!(await this.target.agree(question))) throw new NotChecked('not agreed to');
  });
}
