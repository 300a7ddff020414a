import { transformSync } from 'esbuild';

/** Compiles the example, whose package is an ES module, to CommonJS for Jest. */
export default {
  process: (text, path) =>
    transformSync(text, { loader: 'ts', format: 'cjs', sourcefile: path, sourcemap: 'inline' }),
};
