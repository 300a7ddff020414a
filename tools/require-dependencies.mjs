// Ends a script with one clear line if the development dependencies aren't installed.
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
