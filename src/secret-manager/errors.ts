/** What a failed call means. Only known words of Google's are passed on, because its texts could quote a secret. */
import { grpc } from 'google-gax';
import { RotationError, toRotationError, type RotationErrorOptions } from '../errors';
import type { Permission } from '../rotation/ports';
import type { SecretName } from '../secret-name';

const { status } = grpc;

/** `get` reads a version without its payload. Every role that grants `list` grants it. */
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

/** Lists versions without changing any: enough for a management key that is only read. */
export const VIEWER = 'roles/secretmanager.viewer';

const READING: readonly VersionPermission[] = ['access', 'get', 'list'];

/** Google's name of a permission. */
export function iamName(permission: VersionPermission): string {
  return `secretmanager.versions.${permission}`;
}

/** The error for permissions that the function lacks on a secret. It names the roles that grant them. */
export function permissionMissing(
  secret: SecretName,
  permissions: readonly VersionPermission[],
): RotationError {
  const roles = [...new Set(permissions.map((permission) => ROLES[permission]))];
  const isViewerEnough =
    permissions.includes('list') && permissions.every((each) => READING.includes(each));
  const less = isViewerEnough ? ` To list a management key, ${VIEWER} is enough.` : '';
  return new RotationError('PERMISSION_MISSING', {
    problem: `The function's service account lacks ${permissions.map(iamName).join(', ')} on ${secret.name}, or the secret doesn't exist.`,
    action: `Grant it ${roles.join(' and ')} on this secret.${less} If the secret doesn't exist, create it.`,
  });
}

/** Statuses of outages, which pass. After most of them a call might have had its effect. */
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
  /** The proxy on the way, and why it refused its last connection. */
  readonly proxy?: { readonly host: string; readonly failure: string | undefined } | undefined;
}

/** Any error of a call as a RotationError. */
export function toStoreError(error: unknown, call: FailedCall): RotationError {
  const code = statusOf(error);
  // Only a failed call is an outage. Anything else is a fault of the rotator.
  if (error instanceof RotationError || code === undefined) return toRotationError(error);
  const remedied = remediedError(error, call);
  if (remedied !== undefined) return remedied;
  if (OUTAGES.includes(code)) return outage(error, code, call);
  const { secret, permission } = call;
  switch (code) {
    case status.NOT_FOUND:
      return new RotationError(
        'SECRET_NOT_FOUND',
        {
          problem: `${secret.name} doesn't exist.`,
          action: "Create the secret, or remove it from the function's configuration.",
        },
        { cause: error },
      );
    case status.PERMISSION_DENIED:
      if (permission !== undefined && isDenied(error)) {
        return permissionMissing(secret, [permission]);
      }
      break;
    case status.UNAUTHENTICATED:
      return new RotationError(
        'CREDENTIALS_UNAVAILABLE',
        {
          problem: `Secret Manager rejected the function's Google Cloud credentials (${reasonFor(error, code)}).`,
          action: 'Check that the service account of the function exists and is enabled.',
        },
        { cause: error },
      );
    case status.RESOURCE_EXHAUSTED:
      return new RotationError(
        'SECRET_MANAGER_QUOTA_EXCEEDED',
        {
          problem: `The quota for calls to Secret Manager is used up in the project of ${secret.name}.`,
          action: 'If this persists, spread the schedules or request more quota.',
        },
        // Without Google's reason it could be a limit on the way of the answer.
        { cause: error, outcomeUnknown: knownReason(error) === undefined },
      );
    case status.UNIMPLEMENTED:
      if (permission === undefined) {
        return refused(error, {
          problem: `${call.host} doesn't offer TestIamPermissions.`,
          action: 'Give SECRET_MANAGER_EMULATOR_HOST an emulator that offers it.',
        });
      }
      break;
    default:
  }
  return refused(error, {
    problem: `Secret Manager refused a call for ${secret.name} with ${reasonFor(error, code)}.`,
    action:
      'Check the settings of the secret, and read the reason in the audit log of its project.',
  });
}

/** The error for an answer that doesn't contain what the call is documented to answer. */
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
  const code = statusOf(error);
  const isStateOrKey = code === status.FAILED_PRECONDITION;
  return isStateOrKey || (code === status.PERMISSION_DENIED && isDenied(error))
    ? reasonFor(error, code)
    : undefined;
}

/** Rejection handler: these statuses mean `value`, any other error stays one. */
export function unless<T>(value: T, ...statuses: grpc.status[]): (error: unknown) => T {
  return (error) => {
    if (hasStatus(error, ...statuses)) return value;
    throw error;
  };
}

export function hasStatus(error: unknown, ...statuses: grpc.status[]): boolean {
  return statuses.some((expected) => expected === statusOf(error));
}

function statusOf(error: unknown): grpc.status | undefined {
  const code = field(error, 'code');
  return Object.values(status).find((known): known is grpc.status => known === code);
}

/** Whether IAM denied the call, and not a policy, the project's state or a service on the way. */
function isDenied(error: unknown): boolean {
  const reason = field(error, 'reason');
  return reason === undefined || reason === '' || reason === 'IAM_PERMISSION_DENIED';
}

/**
 * What to do about a reason of Google's (google.api.ErrorReason), whatever the status. `{project}` and `{service}` are the
 * ones that Google names.
 */
const REMEDIES: Readonly<Record<string, string>> = {
  SERVICE_DISABLED: 'Enable {service} in {project}, then wait a few minutes.',
  SERVICE_NOT_VISIBLE: 'Enable {service} in {project}, then wait a few minutes.',
  BILLING_DISABLED: 'Enable billing for {project}, then wait a few minutes.',
  CONSUMER_INVALID: 'Check that {project} exists and is active.',
  CONSUMER_SUSPENDED: 'Ask Google Cloud support why {project} is suspended.',
  GCP_SUSPENDED: 'Ask Google Cloud support why {project} is suspended.',
  RESOURCE_PROJECT_INVALID: 'Check that {project} exists and is active.',
  USER_PROJECT_DENIED:
    'Grant the service account of the function roles/serviceusage.serviceUsageConsumer on {project}, or remove the quota project.',
  ACCESS_TOKEN_SCOPE_INSUFFICIENT:
    'Give the function or its credentials the scope https://www.googleapis.com/auth/cloud-platform.',
  ACCESS_TOKEN_TYPE_UNSUPPORTED: 'Give the function the credentials of a service account.',
  SECURITY_POLICY_VIOLATED:
    'Let the perimeter of VPC Service Controls around {project} admit the service account of the function.',
  VPC_SERVICE_CONTROLS:
    'Let the perimeter of VPC Service Controls around {project} admit the service account of the function.',
  ORG_RESTRICTION_VIOLATION: 'Let the organization restrictions admit {project}.',
  ORG_RESTRICTION_HEADER_INVALID:
    'Correct the header of the organization restrictions in the proxy.',
  LOCATION_POLICY_VIOLATED: 'Let the policy on locations admit {project}.',
  LOCATION_TAX_POLICY_VIOLATED: 'Let the policy on locations admit {project}.',
  RESOURCE_USAGE_RESTRICTION_VIOLATED:
    'Let the organization policy gcp.restrictServiceUsage of {project} admit secretmanager.googleapis.com.',
};

/** Reasons without a remedy of their own. Others aren't passed on. */
const REASONS: readonly string[] = [
  ...Object.keys(REMEDIES),
  'IAM_PERMISSION_DENIED',
  'RATE_LIMIT_EXCEEDED',
  'RESOURCE_QUOTA_EXCEEDED',
  'ACCESS_TOKEN_EXPIRED',
  'ACCOUNT_STATE_INVALID',
  'CREDENTIALS_MISSING',
];

function remediedError(error: unknown, { secret }: FailedCall): RotationError | undefined {
  const reason = isPerimeter(error) ? 'VPC_SERVICE_CONTROLS' : knownReason(error);
  const action = reason === undefined ? undefined : REMEDIES[reason];
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

/** The perimeter can also show in the details only (google.rpc.PreconditionFailure). */
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

/** The project that Google counts the call for. It is a number, unless it is the secret's project. */
function consumerOf(error: unknown, { project }: SecretName): string | undefined {
  const consumer = field(field(error, 'errorInfoMetadata'), 'consumer');
  if (typeof consumer !== 'string') return undefined;
  return /^projects\/\d{1,20}$/.test(consumer) || consumer === `projects/${project}`
    ? consumer
    : undefined;
}

/** Secret Manager calls one other service: the one with the encryption keys. */
function serviceOf(error: unknown): string {
  const service = field(field(error, 'errorInfoMetadata'), 'service');
  return service === 'cloudkms.googleapis.com' ? service : 'secretmanager.googleapis.com';
}

const CERTIFICATE_PROBLEMS: readonly (readonly [text: string, words: string])[] = [
  ['self-signed certificate', 'it or its authority is self-signed'],
  ['self signed certificate', 'it or its authority is self-signed'],
  ['unable to verify the first certificate', 'its authority is unknown'],
  ['unable to get local issuer certificate', 'its authority is unknown'],
  ['unable to get issuer certificate', 'its authority is unknown'],
  ['certificate has expired', 'it has expired'],
  ['certificate is not yet valid', "it isn't valid yet"],
  ['certificate has been revoked', 'it was revoked'],
  ["does not match certificate's altnames", "it doesn't name this host"],
];

const SYSTEM_ERRORS =
  /\b(ECONNREFUSED|ECONNRESET|ECONNABORTED|EHOSTUNREACH|ENETUNREACH|ENETDOWN|ETIMEDOUT|EPIPE|EADDRNOTAVAIL|EACCES|EPERM)\b/;

/** An outage, with its cause as far as grpc-js tells it: in the text of errors that it made itself. */
function outage(error: unknown, code: grpc.status, call: FailedCall): RotationError {
  const details = field(error, 'details');
  const text = typeof details === 'string' ? details : '';
  // The call was never sent.
  const isUnconnected = /^(No connection established|Name resolution failed)/.test(text);
  const certificate = isUnconnected ? certificateProblem(text) : undefined;
  if (certificate !== undefined) return certificateNotTrusted(call.host, certificate, error);
  return new RotationError(
    'SECRET_MANAGER_UNAVAILABLE',
    {
      problem: `Secret Manager (${call.host}) ${outageWords(text, code, call, isUnconnected)}.`,
      action: isUnconnected
        ? `Check that the function can reach ${call.proxy === undefined ? call.host : `the proxy ${call.proxy.host}`}.`
        : 'If this persists, check the status of Google Cloud.',
    },
    { cause: error, outcomeUnknown: !isUnconnected },
  );
}

function outageWords(
  text: string,
  code: grpc.status,
  { proxy }: FailedCall,
  isUnconnected: boolean,
): string {
  if (isUnconnected) return `couldn't be reached (${connectionProblem(text, proxy)})`;
  if (code === status.DEADLINE_EXCEEDED && text.startsWith('Deadline exceeded after')) {
    return text.includes('Waiting for LB pick')
      ? "couldn't be reached (no connection in time)"
      : 'gave no answer in time';
  }
  const httpStatus = /^Received HTTP status code (\d{3})$/.exec(text)?.[1];
  if (httpStatus !== undefined) return `answered with HTTP status ${httpStatus}`;
  const isLost = text === 'Connection dropped' || SYSTEM_ERRORS.test(text);
  return isLost ? 'lost the connection before its answer' : `answered ${status[code]}`;
}

function connectionProblem(text: string, proxy: FailedCall['proxy']): string {
  const through = proxy === undefined ? '' : `, proxy ${proxy.host}`;
  if (text.startsWith('Name resolution failed')) return `ENOTFOUND${through}`;
  const known = SYSTEM_ERRORS.exec(text)?.[1];
  if (known !== undefined) return `${known}${through}`;
  // grpc-js doesn't tell why a proxied connection failed.
  if (proxy !== undefined && text.endsWith('Last error: undefined')) {
    return `proxy ${proxy.host} ${proxy.failure ?? 'refused the connection'}`;
  }
  return `no HTTP/2 over TLS${through}`;
}

/** Why a proxied connection failed, from a line of grpc-js's log; undefined for other lines. */
export function readProxyFailure(line: string): string | undefined {
  if (!/^Failed to connect to .*proxy /.test(line)) return undefined;
  const httpStatus = / with status (\d{3})$/.exec(line)?.[1];
  if (httpStatus !== undefined) return `refused the connection with HTTP status ${httpStatus}`;
  const known = SYSTEM_ERRORS.exec(line)?.[1];
  return known === undefined ? 'closed the connection' : `couldn't be reached: ${known}`;
}

/** The message of an error for credentials that took too long. */
export const NO_ANSWER = 'no answer in time';

/** The error for a client that couldn't get Google Cloud credentials. The library has repeated what can pass. */
export function credentialsUnavailable(error: unknown): RotationError {
  const text = error instanceof Error ? error.message : '';
  const url = field(field(error, 'config'), 'url');
  const host = url instanceof URL ? url.host : 'the token endpoint';
  const certificate = certificateProblem(text);
  if (certificate !== undefined) return certificateNotTrusted(host, certificate, error);
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
  const known = (/\b(ENOTFOUND|EAI_AGAIN)\b/.exec(text) ?? SYSTEM_ERRORS.exec(text))?.[1];
  if (known !== undefined) return `: ${host} couldn't be reached (${known})`;
  const httpStatus = field(error, 'status');
  return typeof httpStatus === 'number' ? `: ${host} answered with HTTP status ${httpStatus}` : '';
}

function certificateProblem(text: string): string | undefined {
  return CERTIFICATE_PROBLEMS.find(([known]) => text.includes(known))?.[1];
}

function certificateNotTrusted(host: string, words: string, cause: unknown): RotationError {
  return new RotationError(
    'CERTIFICATE_NOT_TRUSTED',
    {
      problem: `The TLS certificate of ${host} isn't trusted: ${words}.`,
      action:
        'If a proxy inspects TLS, set NODE_EXTRA_CA_CERTS to the file with its certificate authority. Otherwise find out what answers at this host.',
    },
    { cause },
  );
}

function refused(cause: unknown, parts: { problem: string; action: string }): RotationError {
  return new RotationError('SECRET_MANAGER_REFUSED', parts, { cause });
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}
