import type { AccountId } from "../contract/index.ts";
import type { Role, TokenScope } from "../tokens/schemas.ts";

/** In whose name something is changed, as the audit trail keeps it. */
export interface Actor {
  readonly account: AccountId;
  readonly tokenId: string;
  /** The network address of the caller; absent for whoever works on the control plane's own machine. */
  readonly address?: string;
}

/** Who calls: what a token was given for. Every service takes its account from here, never from a path. */
export interface Principal extends Actor {
  readonly role: Role;
  readonly scope: TokenScope;
}

/** What handlers find in their context. */
export interface ApiEnvironment {
  readonly Variables: {
    /** Names this request in answers and in the log. */
    readonly requestId: string;
    readonly principal: Principal;
  };
}
