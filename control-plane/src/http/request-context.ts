import type { AccountId } from "../contract/index.ts";

/** Who calls: what a token was given for. Every service takes its account from here, never from a path. */
export interface Principal {
  readonly account: AccountId;
  readonly tokenId: string;
}

/** What handlers find in their context. */
export interface ApiEnvironment {
  readonly Variables: {
    /** Names this request in answers and in the log. */
    readonly requestId: string;
    readonly principal: Principal;
  };
}
