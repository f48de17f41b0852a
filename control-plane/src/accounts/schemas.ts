import type { AccountId, AccountSettings } from "../contract/index.ts";

export interface Account {
  readonly id: AccountId;
  readonly name: string;
}

/** An account as its operator sees it. */
export interface ConfiguredAccount extends Account {
  readonly settings: AccountSettings;
}

/** What first start gives to its operator; the token is shown this once. */
export interface Bootstrap {
  readonly account: Account;
  readonly token: string;
}
