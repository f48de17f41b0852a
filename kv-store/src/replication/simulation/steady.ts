/** By then a node that had nothing to complain of has caught up. */
export const STEADY_MS = 3_000;
/** And is never staler than this: some heartbeats, and the time that one takes. */
export const LAG_MAX_MS = 2_000;
