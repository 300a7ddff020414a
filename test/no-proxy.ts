/** Tests call emulators on loopback, also on machines that have a proxy. */
import { normalizeProxyEnvironment } from '../src/proxy';

normalizeProxyEnvironment();
