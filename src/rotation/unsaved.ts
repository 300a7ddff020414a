import type { SecretName } from '../secret-name';
import type { Credential, IssuedBy, Version } from './ports';

/** A credential that was issued and isn't stored yet. */
export interface IssuedCredential {
  readonly credential: Credential;
  readonly by: IssuedBy;
  /** When the credential was issued, on the monotonic clock. */
  readonly issuedAt: number;
  /** The version with the previous key; undefined for the first key of a secret. */
  readonly issuedFrom?: Version | undefined;
  /** The fingerprint of the refresh token that was used. */
  readonly usedTokenFingerprint?: string | undefined;
  /** The number of the newest version when the credential was issued; 0 if the secret was empty. */
  readonly newestAtIssue: number;
}

/**
 * Refreshed credentials that aren't stored yet, as long as the process lives. A refresh token works once, so no run can obtain
 * the same credential again. Minted keys aren't recorded, because a later run can mint another key.
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
