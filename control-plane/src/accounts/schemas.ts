import type { KvQuota } from "@atoll/kv-store";
import type { AccountId, AccountSettings } from "../contract/index.ts";
import type { AccountQuota } from "./quota.ts";

export interface Account {
  readonly id: AccountId;
  readonly name: string;
}

/** An account as its operator sees it. */
export interface ConfiguredAccount extends Account {
  readonly settings: AccountSettings;
  /** Of all its KV namespaces together. */
  readonly kvQuota: KvQuota;
  readonly quota: AccountQuota;
}

/** What an operator changes of an account. */
export interface AccountChanges {
  readonly settings?: Partial<AccountSettings>;
  readonly kvQuota?: Partial<KvQuota>;
  readonly quota?: Partial<AccountQuota>;
}

/** What first start gives to its operator; the token is shown this once. */
export interface Bootstrap {
  readonly account: Account;
  readonly token: string;
}
