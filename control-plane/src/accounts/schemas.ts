import type { KvQuota } from "@atoll/kv-store";
import type { AccountId, AccountSettings } from "../contract/index.ts";

export interface Account {
  readonly id: AccountId;
  readonly name: string;
}

/** An account as its operator sees it. */
export interface ConfiguredAccount extends Account {
  readonly settings: AccountSettings;
  /** Of all its KV namespaces together. */
  readonly kvQuota: KvQuota;
}

/** What an operator changes of an account. */
export interface AccountChanges {
  readonly settings?: Partial<AccountSettings>;
  readonly kvQuota?: Partial<KvQuota>;
}

/** What first start gives to its operator; the token is shown this once. */
export interface Bootstrap {
  readonly account: Account;
  readonly token: string;
}
