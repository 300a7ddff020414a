/** Environment variables that the function shares with the tools beside it. */
import { defined } from '../defined';

export type Environment = Readonly<Record<string, string | undefined>>;

/** What is called, and where. */
export interface Services {
  readonly momento: MomentoConfig;
  /** `host:port` of a local service that stands in for Secret Manager. */
  readonly secretManagerEmulator?: string;
}

export interface MomentoConfig {
  /** The host at which v2 keys are proved whose payload names none. */
  readonly endpoint?: string;
  /** Where a v2 refresh token is spent. */
  readonly refreshPath?: string;
  /** `host:port` of local services that stand in for Momento's gRPC and HTTP APIs. */
  readonly emulator?: string;
  readonly keyApiEmulator?: string;
}

/** Reads one variable; what is wrong with it is said as `NAME must be EXPECTED`. */
export type Read = <T>(
  name: string,
  parse: (text: string) => T | undefined,
  expected: string,
) => T | undefined;

const LOOPBACK = 'host:port on the loopback interface, such as localhost:8085';

/**
 * An empty variable counts as unset.
 *
 * @param problems what is wrong is added to it, without quoting any of it
 */
export function reader(env: Environment, problems: string[]): Read {
  return (name, parse, expected) => {
    const text = env[name]?.trim();
    if (text === undefined || text === '') return undefined;
    const value = parse(text);
    if (value === undefined) problems.push(`${name} must be ${expected}`);
    return value;
  };
}

export function readServices(read: Read): Services {
  return defined<Services>({
    momento: defined<MomentoConfig>({
      endpoint: read(
        'MOMENTO_ENDPOINT',
        parseHost,
        'a host without a scheme, such as cell-4-us-west-2-1.prod.a.momentohq.com',
      ),
      refreshPath: read('MOMENTO_REFRESH_PATH', parsePath, 'a path such as /api-keys/refresh'),
      emulator: read('MOMENTO_EMULATOR_HOST', parseLoopback, LOOPBACK),
      keyApiEmulator: read('MOMENTO_KEY_API_EMULATOR_HOST', parseLoopback, LOOPBACK),
    }),
    secretManagerEmulator: read('SECRET_MANAGER_EMULATOR_HOST', parseLoopback, LOOPBACK),
  });
}

function parseHost(text: string): string | undefined {
  return /^(?=.{1,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$/i.test(text) ? text : undefined;
}

function parsePath(text: string): string | undefined {
  return /^(\/(?!\.\.?(\/|$))[\w.~:@-]+)+$/.test(text) ? text : undefined;
}

function parseLoopback(text: string): string | undefined {
  const [, host = '', port] =
    /^(localhost|127(?:\.\d{1,3}){3}|\[::1\]):(\d{1,5})$/.exec(text) ?? [];
  return Number(port) > 0 && Number(port) < 65536 ? `${host}:${port ?? ''}` : undefined;
}
