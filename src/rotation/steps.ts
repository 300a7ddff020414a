/** What the steps of a run give each other, and leave behind. Types only. */
import type { RotationError } from '../errors';
import type {
  Credential,
  CurrentKey,
  IssuedBy,
  Permission,
  Renewal,
  Verdict,
  Version,
} from './ports';

/** What is known about a secret, and about its next key. */
export interface Found {
  readonly versions: readonly Version[];
  readonly newest?: Version;
  /** The newest enabled version, whatever it holds. */
  readonly enabled?: Version;
  /** The key in it, if it holds one. */
  readonly current?: CurrentKey;
  /** Permissions that the function lacks. */
  readonly missing: readonly Permission[];
  /** Set where readers of `latest` fail. */
  readonly warning?: string;
  /** How the next key is got, or what stands in the way: noted and not thrown, for a run still does what it can. */
  readonly next: Renewal | RotationError;
}

/** Whether to rotate, and why. */
export type Decision =
  | { readonly action: 'rotate'; readonly reason: string }
  | {
      readonly action: 'keep';
      readonly outcome: 'not_due' | 'already_rotated';
      readonly reason: string;
    }
  /** Somebody has to act. */
  | { readonly action: 'refuse'; readonly error: RotationError };

/** A credential that was issued and is in no version yet. */
export interface Issued {
  readonly credential: Credential;
  readonly by: IssuedBy;
  readonly issuedAt: number;
  /** The version that it was issued from; unset for the first key of a secret. */
  readonly issuedFrom?: number;
  /** The newest version at that time; 0 where there was none. */
  readonly newest: number;
}

/** Somebody else added a version since the secret was looked at; theirs stands. */
export interface Superseded {
  readonly supersededBy: Version;
}

/** What the steps of a run gave, each as it returned it. */
export interface Outputs {
  gather?: Found;
  decide?: Decision;
  issue?: Issued | Superseded;
  /** About the new key, or about the newest one where none was issued. */
  verify?: Verdict | Superseded;
  add?: Version;
  retire?: readonly Version[];
  destroy?: readonly Version[];
  /** Ids of keys. */
  revoke?: readonly string[];
}

export type Step = Exclude<keyof Outputs, 'decide'>;
