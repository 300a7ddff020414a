import type { SecretName } from '../secret-name';
import type { Credential, IssuedBy, Version } from './ports';

/** A credential that was issued and isn't stored yet. */
export interface IssuedCredential {
  readonly credential: Credential;
  readonly by: IssuedBy;
  /** When it was issued, on the monotonic clock. */
  readonly issuedAt: number;
  /** The version that it was issued from; undefined for the first key of a secret. */
  readonly issuedFrom?: Version | undefined;
  /** The fingerprint of the refresh token that was used. */
  readonly usedTokenFingerprint?: string | undefined;
  /** The number of the newest version at its issue; 0 if there was none. */
  readonly newestAtIssue: number;
}

/**
 * Refreshed credentials that aren't stored yet. A refresh token works once, so the run can't obtain the same credential
 * again. They live as long as the process. Minted keys aren't recorded, because another one can be minted.
 */
export class UnsavedCredentials {
  readonly #issued = new Map<string, IssuedCredential>();

  set(secret: SecretName, issued: IssuedCredential): void {
    if (issued.by === 'refresh') this.#issued.set(secret.name, issued);
  }

  get(secret: SecretName): IssuedCredential | undefined {
    return this.#issued.get(secret.name);
  }

  discard(secret: SecretName): void {
    this.#issued.delete(secret.name);
  }
}
