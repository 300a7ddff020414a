// Says in one line why the scripts can't run after an installation without development dependencies.
import { createRequire } from 'node:module';

const { resolve } = createRequire(import.meta.url);
try {
  resolve('esbuild');
} catch {
  console.error(
    'The development dependencies are missing. Install them with npm ci --include=dev.',
  );
  process.exit(1);
}
