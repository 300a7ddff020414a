/** What a call that failed means. Google's own text is not passed on. */
import { grpc } from 'google-gax';
import { RotationError, toRotationError } from '../errors';
import type { Permission } from '../rotation/ports';
import type { SecretName } from '../secret-name';
import { permissionMissing } from './permissions';

const { status } = grpc;

/** Statuses that come of the way to the service or of its state, and pass. After them a call may have had its effect. */
const OUTAGES: readonly (grpc.status | undefined)[] = [
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.INTERNAL,
  status.UNKNOWN,
  status.ABORTED,
  status.CANCELLED,
  status.DATA_LOSS,
];

/**
 * @param permission the one that the call needs; a call without any asks which ones there are
 */
export function toStoreError(
  error: unknown,
  secret: SecretName,
  permission: Permission | undefined,
): RotationError {
  const code = statusOf(error);
  // Only a failed call is an outage: anything else is a fault of ours, or news from them.
  if (error instanceof RotationError || code === undefined) return toRotationError(error);
  const cause = { cause: error };
  if (OUTAGES.includes(code)) return unavailable(`it answered ${status[code]}`, cause);
  switch (code) {
    case status.NOT_FOUND:
      return new RotationError(
        'SECRET_NOT_FOUND',
        `${secret.name} does not exist. Create it, or take it out of the function's configuration.`,
        cause,
      );
    case status.PERMISSION_DENIED:
      if (reasonOf(error) === 'SERVICE_DISABLED') {
        return refused(
          `The Secret Manager API is not enabled in the project of ${secret.name}, or was only now. Readers keep the newest ` +
            'version. Enable secretmanager.googleapis.com there, and wait a few minutes.',
          cause,
        );
      }
      if (permission !== undefined) return permissionMissing(secret, [permission]);
      break;
    case status.UNAUTHENTICATED:
      return new RotationError(
        'CREDENTIALS_UNAVAILABLE',
        "Secret Manager did not accept the function's Google Cloud credentials. Readers keep the newest version. See " +
          'whether its service account exists and is enabled.',
        cause,
      );
    case status.RESOURCE_EXHAUSTED:
      return new RotationError(
        'SECRET_MANAGER_QUOTA_EXCEEDED',
        "The project's quota for Secret Manager is used up, also after waiting for it. Readers keep the newest version. The " +
          'next run goes on; if it persists, spread the schedules or ask for more quota.',
        { ...cause, mayHaveHadEffect: true },
      );
    case status.UNIMPLEMENTED:
      if (permission === undefined) {
        return refused(
          'This service does not offer TestIamPermissions, as Secret Manager does. The function asks it, before it issues a ' +
            'key, whether it may store one; so nothing was changed. Give SECRET_MANAGER_EMULATOR_HOST a service that offers it.',
          cause,
        );
      }
      break;
    default:
  }
  return refused(
    `Secret Manager refused a call for ${secret.name} with ${status[code]}. Readers keep the newest version. See whether the ` +
      'secret is as the README says, and the audit log for what it did not like.',
    cause,
  );
}

export function unavailable(what: string, cause: ErrorOptions = {}): RotationError {
  return new RotationError(
    'SECRET_MANAGER_UNAVAILABLE',
    `Secret Manager is not available: ${what}, also when tried again. Readers keep the newest version. The next run goes on.`,
    { ...cause, mayHaveHadEffect: true },
  );
}

function refused(message: string, cause: ErrorOptions): RotationError {
  return new RotationError('SECRET_MANAGER_REFUSED', message, cause);
}

/** Rejection handler: these statuses mean `value`, any other error stays one. */
export function unless<T>(value: T, ...statuses: grpc.status[]): (error: unknown) => T {
  return (error) => {
    if (statuses.some((expected) => expected === statusOf(error))) return value;
    throw error;
  };
}

function statusOf(error: unknown): grpc.status | undefined {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined;
  return Object.values(status).find((known): known is grpc.status => known === code);
}

/** What Google gives programs to branch on (google.rpc.ErrorInfo). */
function reasonOf(error: unknown): unknown {
  return error instanceof Error && 'reason' in error ? error.reason : undefined;
}
