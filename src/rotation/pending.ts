import type { SecretName } from '../secret-name';
import type { Found, Issued } from './steps';
import type { Trail } from './trail';

/** A run that asks what waits. */
interface Asking {
  readonly secret: SecretName;
  readonly options: { readonly dryRun: boolean };
  readonly trail: Pick<Trail, 'warn'>;
}

/**
 * Credentials that were refreshed and could not be stored yet: with a token that works once, they may be the last there
 * will be. They live as long as the process. A minted key is never kept, for another can be made.
 */
export class PendingCredentials {
  readonly #issued = new Map<string, Issued>();

  keep(secret: SecretName, issued: Issued): void {
    if (issued.by === 'refresh') this.#issued.set(secret.name, issued);
  }

  of(secret: SecretName): Issued | undefined {
    return this.#issued.get(secret.name);
  }

  drop(secret: SecretName): void {
    this.#issued.delete(secret.name);
  }

  /** Whether a credential waits to be stored. One that was issued from what is not the newest any more is dropped. */
  isFor(
    { newest, current }: Pick<Found, 'newest' | 'current'>,
    { secret, options, trail }: Asking,
  ): boolean {
    const issued = this.of(secret);
    if (issued === undefined) return false;
    if (issued.newest === (newest?.number ?? 0)) return true;
    if (options.dryRun) return false;
    this.drop(secret);
    if (issued.credential.fingerprint !== current?.credential.fingerprint) {
      trail.warn(
        `a key that an earlier run could not store was dropped, because version ${newest?.number ?? 0} was added since`,
      );
    }
    return false;
  }
}
