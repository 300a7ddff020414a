/** Every call of a run × every fault. */
import { status } from '@grpc/grpc-js';
import type { Fault } from '../../emulators/faults';
import {
  errors,
  inject,
  injections,
  KEY_API_METHODS,
  MOMENTS,
  SHORTEST_TIMEOUT_MS,
  statuses,
  type Injection,
} from './faults';
import { KINDS, V1, V1_REUSABLE, V2, type Kind } from './keys';
import { sample, testCase, type Case, type Group } from './simulation';

interface Variant {
  readonly name: string;
  /** Whether each run has a process of its own, so that an unsaved credential is lost. */
  readonly restarts?: boolean;
  /** Whether the last run repeats the first run, as Cloud Scheduler does after a failure. */
  readonly repeats?: boolean;
}

const SAME_PROCESS: Variant = { name: 'same process' };
const NEW_PROCESS: Variant = { name: 'new process', restarts: true };
const REPEAT: Variant = { name: 'repeat', repeats: true };

/** A new process loses nothing if keys are minted or the refresh token is reusable. */
function variantsOf(kind: Kind): readonly Variant[] {
  if (kind === V1_REUSABLE) return [SAME_PROCESS];
  return kind === V1 || kind === V2 ? [SAME_PROCESS, NEW_PROCESS, REPEAT] : [SAME_PROCESS, REPEAT];
}

const ALL_CODES = Object.values(status).filter(
  (code): code is status => typeof code === 'number' && code !== status.OK,
);
/** The codes of Secret Manager that the function treats in different ways. */
const CODES = [
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.NOT_FOUND,
  status.FAILED_PRECONDITION,
  status.PERMISSION_DENIED,
  status.INTERNAL,
];
const STATUSES = [400, 401, 403, 404, 405, 408, 409, 429, 500, 502, 503, 504];

/** The faults of a method: every gRPC code for v1 keys, one code of each class for other keys. */
function faultsAt(kind: Kind, method: string): Fault[] {
  const isKeyApi = KEY_API_METHODS.includes(method);
  return [
    ...MOMENTS.map((when): Fault => ({ kind: 'drop', when })),
    { kind: 'slow', ms: 8000 },
    { kind: 'corrupt' },
    ...(isKeyApi ? ([{ kind: 'half' }, { kind: 'not-json' }] as const) : []),
    ...MOMENTS.flatMap((when) =>
      isKeyApi
        ? [
            ...statuses(when, STATUSES),
            ...[200, 502].map((code): Fault => ({ kind: 'html', status: code, when })),
          ]
        : errors(when, kind === V1 || kind === V1_REUSABLE ? ALL_CODES : CODES),
    ),
  ];
}

/** Whether the run can't know if Secret Manager added the version. */
function isAdditionUnknown({ method, fault }: Injection): boolean {
  if (method !== 'AddSecretVersion') return false;
  return fault.kind === 'drop' || (fault.kind === 'error' && fault.code === status.UNAVAILABLE);
}

/** One run with a fault, then the last run. */
function faultyRun(
  { name, options }: Kind,
  injected: Injection,
  { name: variant, restarts = false, repeats = false }: Variant,
  timeoutMs?: number,
): Case {
  const limited = { ...options, ...(timeoutMs !== undefined && { timeoutMs }) };
  return testCase(`${name}: ${injected.name}, ${variant}`, limited, async (bed) => {
    const headers = repeats ? bed.scheduledNow() : {};
    const violations: string[] = [];
    const { code, outcome } = await bed.run({ onCall: inject(injected), headers });
    const lost = restarts && (code === 'CREDENTIAL_NOT_STORED' || code === 'NEW_KEY_REJECTED');
    if (isAdditionUnknown(injected)) bed.invariants.checkCopies();
    if (restarts) bed.restart();
    const hasRotated = outcome === 'rotated' || outcome === 'incomplete';
    const versions = hasRotated && repeats ? bed.states.length : Infinity;
    const afterFirst = () => {
      if (bed.states.length > versions) violations.push('the repeat of a run issued again');
    };
    await bed.runLast({ lost, headers, afterFirst });
    return violations;
  });
}

export const calls: Group = {
  name: 'calls',
  title: 'a fault at every call: every error, reset, corruption and delay',
  concurrency: 4,
  cases: (extent) =>
    sample(
      KINDS.flatMap((kind) =>
        injections(kind.calls, (method) => faultsAt(kind, method)).flatMap((injected) =>
          variantsOf(kind).map((variant) => faultyRun(kind, injected, variant)),
        ),
      ),
      extent,
      61,
    ),
};

/** How many hanging calls the short simulation tries. */
const SHORT_HANGS = 20;

export const hangs: Group = {
  name: 'hangs',
  title: 'no answer at every call',
  concurrency: 200,
  inBackground: true,
  cases: (extent) => {
    const all = KINDS.flatMap((kind) =>
      injections(kind.calls, () => MOMENTS.map((when): Fault => ({ kind: 'hang', when })))
        // Calls of Secret Manager are the same for all kinds, so two kinds suffice.
        .filter(({ method }) => kind === V1 || kind === V2 || KEY_API_METHODS.includes(method))
        .flatMap((injected) =>
          variantsOf(kind)
            .filter(({ repeats }) => repeats !== true)
            .map((variant) => ({
              // Momento's SDK gives a refresh 60 s of real time.
              isSlow: injected.method.startsWith('Refresh') || injected.persists,
              case: faultyRun(kind, injected, variant, SHORTEST_TIMEOUT_MS),
            })),
        ),
    );
    if (extent === 'full') return all.map((hang) => hang.case);
    const quick = all.filter(({ isSlow }) => !isSlow).map((hang) => hang.case);
    return sample(quick, extent, Math.ceil(quick.length / SHORT_HANGS));
  },
};
