import type { AccountId } from "../contract/index.ts";

export interface Account {
  readonly id: AccountId;
  readonly name: string;
}

/** What first start gives to its operator; the token is shown this once. */
export interface Bootstrap {
  readonly account: Account;
  readonly token: string;
}
