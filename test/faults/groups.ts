import { badInput } from './bad-input';
import type { Group } from './campaign';
import { endurance } from './endurance';
import { everyFault, everyHang, everyPair, everyPairInOneRun } from './every-call';
import { killed } from './killed';
import { person } from './person';
import { races } from './races';
import { time } from './time';

/** All that the campaign tries, in the order in which it is tried. */
export const GROUPS: readonly Group[] = [
  everyHang,
  endurance,
  killed,
  everyFault,
  everyPair,
  everyPairInOneRun,
  races,
  person,
  time,
  badInput,
];
