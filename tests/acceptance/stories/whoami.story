# wrangler whoami: https://developers.cloudflare.com/workers/wrangler/commands/#whoami

$ whoami
> Getting User settings...
> 👋 You are logged in with an Account API Token, associated with the account Atoll<any>
> ℹ️  The API Token is read from the CLOUDFLARE_API_TOKEN environment variable.
> ┌──────────────┬──────────────────────────────────┐
> │ Account Name │ Account ID                       │
> ├──────────────┼──────────────────────────────────┤
> │ Atoll        │ {account} │
> └──────────────┴──────────────────────────────────┘
> …
