/** Runs the programs in `tools`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';

const ROOT = resolve(__dirname, '../..');

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ToolOptions {
  readonly args?: readonly string[];
  /** The standard input, which then ends. */
  readonly input?: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Runs a tool in its own process, as npm does. */
export async function runTool(name: string, options: ToolOptions): Promise<Ended> {
  const { args = [], input = '', env } = options;
  const child = spawn(process.execPath, ['--import', 'tsx', `tools/${name}.ts`, ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, ...env },
  });
  // The tool can end before it has read everything.
  child.stdin.on('error', () => undefined).end(input);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number]>,
  ]);
  return { code, stdout, stderr };
}

/** Collects the output of a tool. */
export class Sink extends Writable {
  text = '';

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}
