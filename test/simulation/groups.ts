import { badInput } from './bad-input';
import type { Group } from './campaign';
import { endurance } from './endurance';
import { everyFault, everyHang, everyPair, everyPairInOneRun } from './every-call';
import { everyFaultV2, everyHangV2, everyPairInOneRunV2, everyPairV2 } from './every-call-v2';
import { killed, killedV2 } from './killed';
import { malformedAnswers } from './malformed';
import { person } from './person';
import { personV2 } from './person-v2';
import { races, racesV2 } from './races';
import { randomSchedules } from './random';
import { scale } from './scale';
import { time } from './time';

/** All that the campaign tries, in the order in which it is tried. */
export const GROUPS: readonly Group[] = [
  everyHang,
  everyHangV2,
  endurance,
  killed,
  killedV2,
  everyFault,
  everyPair,
  everyPairInOneRun,
  everyFaultV2,
  everyPairV2,
  everyPairInOneRunV2,
  racesV2,
  personV2,
  randomSchedules,
  races,
  person,
  time,
  badInput,
  malformedAnswers,
  scale,
];
