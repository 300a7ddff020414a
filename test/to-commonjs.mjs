import { transformSync } from 'esbuild';

/** For Jest, which takes modules as CommonJS: what is an ES module by the package that it is in. */
export default {
  process: (text, path) =>
    transformSync(text, { loader: 'ts', format: 'cjs', sourcefile: path, sourcemap: 'inline' }),
};
