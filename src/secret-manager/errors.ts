/** Translates failed calls. Google's texts could quote a secret, so errors contain only known words of these texts. */
import { grpc } from 'google-gax';
import { certificateError, networkCode, unreachable } from '../connection-errors';
import { RotationError, toRotationError, type RotationErrorOptions } from '../errors';
import type { Permission } from '../rotation/ports';
import type { SecretName } from '../secret-name';

const { status } = grpc;

/** `get` reads a version without its payload. Every role that grants `list` also grants `get`. */
export type VersionPermission = Permission | 'get';

const MANAGER = 'roles/secretmanager.secretVersionManager';

/** Which role grants which permission of a rotated secret (https://cloud.google.com/secret-manager/docs/access-control). */
export const ROLES: Readonly<Record<VersionPermission, string>> = {
  access: 'roles/secretmanager.secretAccessor',
  get: MANAGER,
  list: MANAGER,
  add: MANAGER,
  disable: MANAGER,
  destroy: MANAGER,
};

/** The role that lists versions without changing them. It suffices for a management key that the rotator doesn't rotate. */
export const VIEWER = 'roles/secretmanager.viewer';

const READING: readonly VersionPermission[] = ['access', 'get', 'list'];

/** Google's name of a permission. */
export function iamName(permission: VersionPermission): string {
  return `secretmanager.versions.${permission}`;
}

/** The error for permissions that the function lacks on a secret, with the roles that grant them. */
export function permissionMissing(
  secret: SecretName,
  permissions: readonly VersionPermission[],
): RotationError {
  const roles = [...new Set(permissions.map((permission) => ROLES[permission]))];
  const isViewerEnough =
    permissions.includes('list') && permissions.every((each) => READING.includes(each));
  const less = isViewerEnough
    ? ` To list the versions of a management key's secret, ${VIEWER} is enough.`
    : '';
  return new RotationError('PERMISSION_MISSING', {
    problem: `The function's service account lacks ${permissions.map(iamName).join(', ')} on ${secret.name}, or the secret doesn't exist.`,
    action: `Grant it ${roles.join(' and ')} on this secret.${less} If the secret doesn't exist, create it.`,
  });
}

/** Statuses that a retry can end. After most of them, the outcome of the call is unknown. */
const OUTAGES: readonly (grpc.status | undefined)[] = [
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.INTERNAL,
  status.UNKNOWN,
  status.ABORTED,
  status.CANCELLED,
  status.DATA_LOSS,
];

export interface FailedCall {
  readonly secret: SecretName;
  /** The host that was called. */
  readonly host: string;
  /** The permission that the call needs. TestIamPermissions needs none. */
  readonly permission: VersionPermission | undefined;
  /** The host of the proxy on the way. */
  readonly proxy?: string | undefined;
}

/** Any error of a call as a RotationError. */
export function toStoreError(error: unknown, call: FailedCall): RotationError {
  const code = grpcStatusOf(error);
  // Only a failed call has a status. Any other error is a fault of the rotator.
  if (error instanceof RotationError || code === undefined) return toRotationError(error);
  if (OUTAGES.includes(code)) return knownRefusal(error, call) ?? outage(error, code, call);
  return knownRefusal(error, call) ?? statusError(error, code, call);
}

function statusError(error: unknown, code: grpc.status, call: FailedCall): RotationError {
  const { secret, permission } = call;
  if (code === status.PERMISSION_DENIED && permission !== undefined && isDenied(error)) {
    return permissionMissing(secret, [permission]);
  }
  if (code === status.NOT_FOUND) {
    return new RotationError(
      'SECRET_NOT_FOUND',
      {
        problem: `${secret.name} doesn't exist.`,
        action: "Create the secret, or remove it from the function's configuration.",
      },
      { cause: error },
    );
  }
  if (code === status.UNAUTHENTICATED) {
    return new RotationError(
      'CREDENTIALS_UNAVAILABLE',
      {
        problem: `Secret Manager rejected the function's Google Cloud credentials (${reasonFor(error, code)}).`,
        action: 'Check that the service account of the function exists and is enabled.',
      },
      { cause: error },
    );
  }
  if (code === status.RESOURCE_EXHAUSTED) {
    return new RotationError(
      'SECRET_MANAGER_QUOTA_EXCEEDED',
      {
        problem: `The quota for calls to Secret Manager is used up in the project of ${secret.name}.`,
        action: 'If this persists, spread the schedules or request more quota.',
      },
      // Without Google's reason, the answer might have exceeded a size limit after the call had its effect.
      { cause: error, outcomeUnknown: knownReason(error) === undefined },
    );
  }
  if (code === status.UNIMPLEMENTED && permission === undefined) {
    return refused(error, {
      problem: `${call.host} doesn't offer TestIamPermissions.`,
      action: 'Set SECRET_MANAGER_EMULATOR_HOST to an emulator that offers it.',
    });
  }
  return refused(error, {
    problem: `Secret Manager refused a call for ${secret.name} with ${reasonFor(error, code)}.`,
    action:
      'Check the settings of the secret, and read the reason in the audit log of its project.',
  });
}

/** The error for an answer that lacks a documented field. */
export function unreadableAnswer(
  { secret, host }: Pick<FailedCall, 'secret' | 'host'>,
  what: string,
  options: RotationErrorOptions = {},
): RotationError {
  return new RotationError(
    'SECRET_MANAGER_UNAVAILABLE',
    {
      problem: `An answer of ${host} about ${secret.name} couldn't be read: ${what}.`,
      action: 'If this persists, check what answers at this host.',
    },
    options,
  );
}

/**
 * Why a version can't be accessed; undefined for any other error. A disabled or destroyed version and a disabled
 * encryption key give FAILED_PRECONDITION, a missing permission and an IAM condition give PERMISSION_DENIED.
 */
export function notReadable(error: unknown): string | undefined {
  const code = grpcStatusOf(error);
  const isStateOrKey = code === status.FAILED_PRECONDITION;
  return isStateOrKey || (code === status.PERMISSION_DENIED && isDenied(error))
    ? reasonFor(error, code)
    : undefined;
}

/** A rejection handler that replaces errors with these statuses by `value`. */
export function unless<T>(value: T, ...statuses: grpc.status[]): (error: unknown) => T {
  return (error) => {
    if (hasStatus(error, ...statuses)) return value;
    throw error;
  };
}

export function hasStatus(error: unknown, ...statuses: grpc.status[]): boolean {
  return statuses.some((expected) => expected === grpcStatusOf(error));
}

function grpcStatusOf(error: unknown): grpc.status | undefined {
  const code = field(error, 'code');
  return Object.values(status).find((known): known is grpc.status => known === code);
}

/** Whether IAM denied the call, and not a policy, the project's state or a service on the way. */
function isDenied(error: unknown): boolean {
  const reason = field(error, 'reason');
  return reason === undefined || reason === '' || reason === 'IAM_PERMISSION_DENIED';
}

const ENABLE = 'Enable {service} in {project}, then wait a few minutes.';
const ACTIVE = 'Check that {project} exists and is active.';
const PERIMETER =
  'Let the perimeter of VPC Service Controls around {project} admit the service account of the function.';

/** The actions for Google's reasons (google.api.ErrorReason). `{project}` and `{service}` are in the error's metadata. */
const ACTIONS: Readonly<Record<string, string>> = {
  SERVICE_DISABLED: ENABLE,
  BILLING_DISABLED: 'Enable billing for {project}, then wait a few minutes.',
  CONSUMER_INVALID: ACTIVE,
  CONSUMER_SUSPENDED: 'Ask Google Cloud support why {project} is suspended.',
  USER_PROJECT_DENIED:
    'Grant the service account of the function roles/serviceusage.serviceUsageConsumer on {project}, or remove the quota project.',
  ACCESS_TOKEN_SCOPE_INSUFFICIENT:
    'Give the function or its credentials the scope https://www.googleapis.com/auth/cloud-platform.',
  SECURITY_POLICY_VIOLATED: PERIMETER,
  VPC_SERVICE_CONTROLS: PERIMETER,
  RESOURCE_USAGE_RESTRICTION_VIOLATED:
    'Let the organization policy gcp.restrictServiceUsage of {project} admit secretmanager.googleapis.com.',
};

/** The reasons that errors can contain. Other reasons are dropped, because they could be any text. */
const REASONS: readonly string[] = [
  ...Object.keys(ACTIONS),
  'IAM_PERMISSION_DENIED',
  'RATE_LIMIT_EXCEEDED',
  'RESOURCE_QUOTA_EXCEEDED',
  'ACCESS_TOKEN_EXPIRED',
  'ACCOUNT_STATE_INVALID',
  'CREDENTIALS_MISSING',
];

function knownRefusal(error: unknown, { secret }: FailedCall): RotationError | undefined {
  const reason = isPerimeter(error) ? 'VPC_SERVICE_CONTROLS' : knownReason(error);
  const action = reason === undefined ? undefined : ACTIONS[reason];
  if (reason === undefined || action === undefined) return undefined;
  const consumer = consumerOf(error, secret);
  const named = consumer === undefined ? '' : `, ${consumer}`;
  return refused(error, {
    problem: `Google Cloud refused a call for ${secret.name} (${reason}${named}).`,
    action: action
      .replace('{project}', consumer ?? 'the project')
      .replace('{service}', serviceOf(error)),
  });
}

/** Some errors name the perimeter only in their details (google.rpc.PreconditionFailure). */
function isPerimeter(error: unknown): boolean {
  const details = field(error, 'statusDetails');
  return (Array.isArray(details) ? (details as unknown[]) : []).some((detail) => {
    const violations = field(detail, 'violations');
    return (
      Array.isArray(violations) &&
      violations.some((violation) => field(violation, 'type') === 'VPC_SERVICE_CONTROLS')
    );
  });
}

function knownReason(error: unknown): string | undefined {
  const reason = field(error, 'reason');
  return REASONS.find((known) => known === reason);
}

/** Google's reason if it is a known one, otherwise the status. */
function reasonFor(error: unknown, code: grpc.status): string {
  return knownReason(error) ?? status[code];
}

/** The project that the call is counted for. Only a number or the secret's project is safe to pass on. */
function consumerOf(error: unknown, { project }: SecretName): string | undefined {
  const consumer = field(field(error, 'errorInfoMetadata'), 'consumer');
  if (typeof consumer !== 'string') return undefined;
  return /^projects\/\d{1,20}$/.test(consumer) || consumer === `projects/${project}`
    ? consumer
    : undefined;
}

/** The service to enable: Secret Manager, or Cloud KMS, which Secret Manager calls for encryption keys. */
function serviceOf(error: unknown): string {
  const service = field(field(error, 'errorInfoMetadata'), 'service');
  return service === 'cloudkms.googleapis.com' ? service : 'secretmanager.googleapis.com';
}

/** The error for an outage. If grpc-js wrote the text, the text contains the cause. */
function outage(error: unknown, code: grpc.status, call: FailedCall): RotationError {
  const { host, proxy } = call;
  const details = field(error, 'details');
  const text = typeof details === 'string' ? details : '';
  // grpc-js writes these texts for calls that it never sent.
  if (!/^(No connection established|Name resolution failed)/.test(text)) {
    return storeUnavailable(call, answerProblem(text, code), {
      action: 'If this persists, check the status of Google Cloud.',
      options: { cause: error, outcomeUnknown: true },
    });
  }
  return (
    certificateError(host, text, { cause: error }) ??
    storeUnavailable(call, unreachable(text, proxy), {
      action: `Check that the function can reach ${proxy === undefined ? host : `the proxy ${proxy}, and that it admits ${host}`}.`,
      options: { cause: error },
    })
  );
}

function storeUnavailable(
  { host }: FailedCall,
  problem: string,
  { action, options }: { action: string; options: RotationErrorOptions },
): RotationError {
  const parts = { problem: `Secret Manager (${host}) ${problem}.`, action };
  return new RotationError('SECRET_MANAGER_UNAVAILABLE', parts, options);
}

function answerProblem(text: string, code: grpc.status): string {
  if (code === status.DEADLINE_EXCEEDED && text.startsWith('Deadline exceeded after')) {
    return text.includes('Waiting for LB pick')
      ? "couldn't be reached (no connection in time)"
      : "didn't answer in time";
  }
  const httpStatus = /^Received HTTP status code (\d{3})$/.exec(text)?.[1];
  if (httpStatus !== undefined) return `answered with HTTP status ${httpStatus}`;
  const isLost = text === 'Connection dropped' || networkCode(text) !== undefined;
  return isLost ? 'lost the connection before its answer' : `answered ${status[code]}`;
}

/** The message of the error if the library gets no credentials in time. */
export const NO_ANSWER = 'no answer in time';

/** The error for a client without Google Cloud credentials. The library has already retried. */
export function credentialsUnavailable(error: unknown): RotationError {
  const text = error instanceof Error ? error.message : '';
  const url = field(field(error, 'config'), 'url');
  const host = url instanceof URL ? url.host : 'the token endpoint';
  const untrusted = certificateError(host, text, { cause: error });
  if (untrusted !== undefined) return untrusted;
  return new RotationError(
    'CREDENTIALS_UNAVAILABLE',
    {
      problem: `The function got no Google Cloud credentials${credentialsProblem(error, text, host)}. Secret Manager wasn't called.`,
      action:
        'On Google Cloud, give the function a service account that exists and is enabled. Elsewhere, run gcloud auth application-default login.',
    },
    { cause: error },
  );
}

const CREDENTIAL_PROBLEMS: readonly (readonly [text: string, words: string])[] = [
  ['Could not load the default credentials', 'none are configured'],
  ['GOOGLE_APPLICATION_CREDENTIALS', "the file in GOOGLE_APPLICATION_CREDENTIALS can't be read"],
  [NO_ANSWER, 'there was no answer in time'],
];

function credentialsProblem(error: unknown, text: string, host: string): string {
  const listed = CREDENTIAL_PROBLEMS.find(([start]) => text.includes(start));
  if (listed !== undefined) return `: ${listed[1]}`;
  const known = networkCode(text);
  if (known !== undefined) return `: ${host} couldn't be reached (${known})`;
  const httpStatus = field(error, 'status');
  return typeof httpStatus === 'number' ? `: ${host} answered with HTTP status ${httpStatus}` : '';
}

function refused(cause: unknown, parts: { problem: string; action: string }): RotationError {
  return new RotationError('SECRET_MANAGER_REFUSED', parts, { cause });
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}
