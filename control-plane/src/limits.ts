const KIB = 1024;
const MIB = 1024 * KIB;

/** Every bound of the control plane, with its reason. Sizes are bytes unless the name says otherwise. */
export const LIMITS = {
  /** A head holds a token and a path of at most a few hundred bytes; Node's own default is as large. */
  headBytesMax: 16 * KIB,
  /** A head must have arrived within this time: a slow sender must not hold a connection for nothing. */
  headMs: 20_000,
  /** A whole request must have arrived within this time: 64 MiB over a link of 2 Mbit/s. */
  requestMs: 300_000,
  /** A connection between two requests; longer than wrangler keeps one. */
  idleConnectionMs: 65_000,
  /** Connections at once: a fleet's developers and nodes, with room for a thousand returning nodes. */
  connectionsMax: 5_000,
  /** A body that is too large is read on up to this size, so that its sender sees the answer. */
  discardedBodyBytesMax: 256 * MIB,
  /** A JSON body, of calls without a larger one: the longest are route lists and settings. */
  jsonBodyBytesMax: 4 * MIB,
  /** Levels of JSON that may be anything, such as a variable: many more run out of stack where it is written again. */
  jsonLevelsMax: 500,
  /** A worker's upload as multipart, all modules and source maps together. */
  uploadBytesMax: 64 * MIB,
  /** Uploads held in memory at once: 64 MiB each, several times over while they are parsed. */
  uploadsMax: 4,
  /** Uploads that wait for their turn with unread bodies; more are refused as `busy`, which wrangler repeats. */
  uploadsWaitingMax: 64,
  /** Modules of one worker: what a large framework's server build has, several times over. */
  modulesMax: 2_000,
  /** Characters of a module's name: a path, as long as file systems allow. */
  moduleNameCharactersMax: 1_024,
  /** The metadata part of an upload: bindings with text, `_headers` and `_redirects` are in it. */
  metadataBytesMax: 4 * MIB,
  /** Bindings of one version, secrets included, as Cloudflare bounds them loosely: each becomes config on every node. */
  bindingsMax: 1_000,
  /** Cloudflare's own limit of one variable or secret. */
  bindingTextBytesMax: 5 * KIB,
  /** A JSON variable, which Cloudflare counts with the rest of the metadata. */
  bindingJsonBytesMax: 1 * MIB,
  /** Refused workers that are remembered for those that they wait for: each takes a hundred bytes. */
  awaitedServicesMax: 1_000,
  /** Secrets in one bulk call. */
  secretsBulkMax: 1_000,
  /** Cloudflare's own limit of one asset, and wrangler's. */
  assetBytesMax: 25 * MIB,
  /** Assets of one version, Cloudflare's own limit: each bucket looks at all of them once. */
  assetsMax: 20_000,
  /** An asset's path, in UTF-8: file systems of nodes hold it below a directory of their own. */
  assetPathBytesMax: 1_024,
  /** One name between two slashes of it: what Linux file systems hold. */
  assetNameBytesMax: 255,
  /** Names of a path: each but the last is a directory to make on every node. */
  assetPathNamesMax: 64,
  /** A manifest as JSON: 20,000 paths of some hundred characters. */
  assetManifestBytesMax: 16 * MIB,
  /** Content of one bucket: wrangler holds three of them in memory, each a third larger in base64. */
  assetBucketBytesMax: 16 * MIB,
  /** Files of one bucket, so that thousands of tiny ones still travel in pieces. */
  assetBucketFilesMax: 1_000,
  /** A bucket's body: one asset of 25 MiB in base64 and the multipart around it. */
  assetUploadBytesMax: 40 * MIB,
  /** Uploads whose announcement is held between buckets: 20,000 files take some MiB. */
  assetSessionsHeldMax: 4,
  /** Buckets taken in at once, as many as wrangler sends: while one waits for the disk the others are read. */
  assetUploadsMax: 3,
  /** A file's part of it: an asset in base64, with room for line ends that nobody should send. */
  assetPartBytesMax: 36 * MIB,
  /** Files of a bucket, in base64, that are in memory together, until they are written. */
  assetBatchBytesMax: 4 * MIB,
  assetBatchFilesMax: 500,
  /** Before the first delimiter of a multipart body there is nothing in practice. */
  multipartPreambleBytesMax: 1 * KIB,
  /** Headers of one part: a name and a content type. */
  multipartHeadersBytesMax: 16 * KIB,
  /** What is held of a multipart body to begin with; a larger part makes it grow. */
  multipartWindowBytes: 256 * KIB,
  /** Life of an upload session's tokens, as Cloudflare's: an hour over a slow link. */
  assetSessionMs: 60 * 60 * 1_000,
  /** Cloudflare's own limits of `_headers` and `_redirects` leave them far below this. */
  assetRulesBytesMax: 1 * MIB,
  /** A Pages project's name: with the eight digits of a deployment in front it is a DNS label, of 63. */
  pagesNameCharactersMax: 54,
  /** A branch is named by a path of git; GitHub's own limit. */
  pagesBranchCharactersMax: 255,
  /** What of a branch's name is in its host, as on Cloudflare. */
  pagesAliasCharactersMax: 28,
  /** A commit's hash: SHA-256 in hexadecimal. */
  pagesCommitHashCharactersMax: 64,
  /** Files of one bucket of Pages: wrangler sends at most 2,000. */
  pagesUploadFilesMax: 2_000,
  /** A bucket of Pages: 40 MiB of content, a third more in base64, and what is said of each of 2,000 files. */
  pagesUploadBytesMax: 56 * MIB,
  /** Buckets of Pages held at once: JSON, which is in memory whole, and once more as it is taken apart. */
  pagesUploadsMax: 1,
  /** Files of a deployment that are read at once, to see whether they are what they are called: 25 MiB each. */
  pagesVerifiedAtOnce: 4,
  /** Deployments to Pages taken in at once: their code is held several times over, as that of uploads. */
  pagesDeploymentsMax: 2,
  /** Rules of `_routes.json`, and the characters of each: Cloudflare's own limits. */
  pagesRulesMax: 100,
  pagesRuleCharactersMax: 100,
  /** Rows of a page of projects or deployments: as many as Cloudflare gives without being asked. */
  pagesListedMax: 25,
  /** Routes of one worker, custom domains included: Cloudflare's limit of routes per zone. */
  routesMax: 1_000,
  /** A DNS name is at most 253 characters; a path pattern is bounded like a URL. */
  routePatternCharactersMax: 1_024,
  /** Domains and claims of one account: looked at whole for lists. */
  domainsMax: 1_000,
  /** Characters of a domain: with `_atoll-challenge.` before it, its TXT record has the 253 of a DNS name. */
  domainCharactersMax: 236,
  /** What is read of a text that should be one: a name in Unicode, with room for its sender's mistakes. */
  domainTextCharactersMax: 1_024,
  /** How long a claim waits for its proof: records are often made by others, and take days to be seen. */
  domainClaimMs: 7 * 24 * 60 * 60_000,
  /** One question to a DNS server. */
  domainAnswerMs: 2_000,
  /** How often a server is asked. */
  domainQuestionsMax: 2,
  /** A look-up ends after so long, however many servers are asked and whatever they do. */
  domainLookupMs: 8_000,
  /** TXT records of one name that are looked through; it exists for one of them. */
  domainRecordsMax: 100,
  /** Look-ups at once, and those of one account: a server that never answers holds none of others'. */
  domainLookupsMax: 32,
  domainLookupsPerAccountMax: 2,
  /** Workers that hear what happens to one: each is called once more for every request. */
  tailConsumersMax: 10,
  /** Schedules of one worker: Cloudflare's own limit, which it has for a whole account. */
  schedulesMax: 250,
  /** Characters of a cron expression: each minute of an hour listed, and the other fields as well. */
  cronCharactersMax: 500,
  /** How often schedules are looked at: an occurrence starts at most this late, with cells at hand. */
  scheduleLookMs: 1_000,
  /** Occurrences that one look gives to nodes, and schedules that it brings forward; the rest waits a look. */
  occurrencesPerLook: 500,
  /** Older ones that nobody ran, because no control plane or no node was there, are not made up for. */
  occurrenceMissedMs: 15 * 60_000,
  /** How far back missed ones are told one by one after a long time without a control plane. */
  scheduleLookBackMs: 7 * 24 * 60 * 60_000,
  /** Occurrences of one schedule whose outcome is kept. */
  occurrencesKeptMax: 100,
  /** Of these, what one answer tells for each schedule. */
  occurrencesListedMax: 10,
  /** How often an occurrence is tried, when `scheduled()` fails or the node that had it is gone. */
  occurrenceAttemptsMax: 4,
  /** The wait before the second attempt; each further one is four times as long: 5 s, 20 s, 80 s. */
  occurrenceRetryMs: 5_000,
  /**
   * A node that runs an occurrence and was not heard of for this long has lost it. It outlasts a control plane
   * that is started again, and a node's slowest reconnect but for those after minutes without one.
   */
  occurrenceLeaseMs: 30_000,
  /** Occurrences that one node has at a time: each may need a cell of its own. */
  occurrencesPerNodeMax: 50,
  /** How long a worker is watched at a time: as long as on Cloudflare. */
  tailMs: 6 * 60 * 60_000,
  /** From the call that opens a tail to the watcher's connection, which wrangler makes at once. */
  tailConnectMs: 30_000,
  /** How long the call waits for the nodes to follow: starting a cell of the worker takes them 100 ms. */
  tailFollowMs: 2_000,
  /** Watchers of one worker at a time: Cloudflare's own limit. */
  tailsPerWorkerMax: 10,
  /** Watchers of one account: each watched worker has a further cell on each node. */
  tailsPerAccountMax: 50,
  /** A frame of a watcher: wrangler sends a few bytes, and nobody reads them. */
  tailFrameBytesMax: 4 * KIB,
  /** Bytes that wait for a watcher who does not read; further events are left out, and counted. */
  tailBufferedBytesMax: 1 * MIB,
  /** How often a watcher is asked for a sign of life; one without any until the next time is gone. */
  tailPingMs: 15_000,
  /** What a watcher may take to take leave. */
  tailCloseMs: 2_000,
  /** How often tails are looked at whose API token may be gone: so long somebody watches who may not any more. */
  tailTokenLookMs: 2_000,
  /** How often tails are looked at that are over, or have something to say of what was left out. */
  tailLookMs: 1_000,
  /** So long after the last event that was left out, nothing is left out any more. */
  tailCalmMs: 5_000,
  /** How often a watcher is told how much was left out while something is. */
  tailNoticeMs: 10_000,
  /** Bytes of news that wait for another control plane; further events are left out, and counted. */
  tailLinkBufferedBytesMax: 4 * MIB,
  /** A connection to another control plane: it is near, or not there. */
  peerConnectMs: 2_000,
  /** How long a credential for such a connection holds: as far as clocks of servers may differ, and more. */
  peerCredentialMs: 60_000,
  /** Versions and deployments that a listing shows, as Cloudflare caps them. */
  listedVersionsMax: 10,
  /** Versions of a worker that are kept to roll back to, as many as on Cloudflare; older ones are removed. */
  versionsKeptMax: 100,
  /** How often a version is drafted and started when other control planes publish the same worker meanwhile. */
  publicationAttemptsMax: 3,
  /** Deployments kept as history; the versions that they name are kept as well. */
  deploymentsKeptMax: 100,
  /** Annotations are a message and a tag, for people. */
  annotationCharactersMax: 1_000,
  /** Versions that are known to start: those of many developers who deploy again what did not change. */
  preflightsRememberedMax: 1_000,
  /** Outbox rows kept: a node that was away longer gets a snapshot, which is then cheaper. */
  stateChangesMax: 10_000,
  /** Workers of the desired state that are read, or encoded, in one go: some ms, in which nothing else has its turn. */
  statePieceWorkers: 50,
  /** How often changes made while others are read are read apart; those after the last time in one go. */
  stateRoundsMax: 10,
  /** How often changes are looked for that another process made: who made one waits this long for it. */
  stateLookMs: 1_000,
  /**
   * Text of SQLite's prepared statements that are kept, each of which takes many times its text: all that everyday calls
   * use, and a few of the longest. Five hundred rows of six columns are 10,000.
   */
  sqliteStatementCharactersMax: 150_000,
  /** Connections to a PostgreSQL database: a few calls at once, most of which take milliseconds. */
  databaseConnectionsMax: 10,
  /** A connection to it: outlasts a busy server, and a call fails soon enough for its caller to ask elsewhere. */
  databaseConnectMs: 2_000,
  /** One statement: outlasts a stalled disk. The longest reads a thousand rows. */
  databaseStatementMs: 6_000,
  /** A lock held for longer is held by a control plane that is stuck. */
  databaseLockMs: 5_000,
  /** A control plane that is stuck in a transaction is cut by the database, so that others can write. */
  databaseIdleTransactionMs: 4_000,
  /** A database that does not answer is given up: after its own limits. */
  databaseAnswerMs: 8_000,
  /** A connection that nobody used for this long is closed. */
  databaseIdleMs: 60_000,
  /** Changes that wait for their turn; more are refused as `busy`. Each takes some milliseconds. */
  databaseWritersWaitingMax: 1_000,
  /** When to ask again what a 503 refused: a database that is started again takes some seconds. */
  unavailableRetrySeconds: 2,
  /** Reports of nodes, for people, go to other control planes at most this often. */
  reportShareMs: 3_000,
  /** How often a control plane that shares its database shows the others that it lives. */
  controlPlaneAliveMs: 3_000,
  /** One that was not seen alive for so long has no nodes any more. Nobody waits for that: nodes come back at once. */
  controlPlaneSilenceMs: 10_000,
  /** A join token is typed or pasted soon after it was made. */
  joinTokenMs: 60 * 60 * 1_000,
  /** `last seen` of a node and `last used` of a token are for people: written at most this often, so that calls of nodes stay reads. */
  lastSeenMs: 60_000,
  /** How often the uses of tokens are written, many with one commit that no call waits for. */
  tokenUsesMs: 1_000,
  /** Uses of different tokens that wait for it. */
  tokenUsesHeldMax: 1_000,
  /** How often control planes tell each other what they let addresses and tokens do. */
  sharedUsesMs: 1_000,
  /** Of its rate: a key that uses less of it is not told of, so that everyday calls cost nothing. */
  sharedUsesPart: 0.01,
  /** Keys that are told of at a time, those who ask most; the rest is counted where it asks. */
  sharedUsesMax: 1_000,
  /** Of these in one notification, which PostgreSQL bounds to 8,000 bytes: a key takes some 70. */
  sharedUsesPerText: 100,
  /** What an API token may ask for over time: a bulk job of single keys, with more than enough left for others. */
  tokenRequestsPerSecond: 500,
  /** What it may ask at once: a build server that deploys everything. */
  tokenRequestsBurst: 5_000,
  /** The same for a network address, behind which there may be an office. */
  addressRequestsPerSecond: 1_000,
  addressRequestsBurst: 10_000,
  /** Tokens, and addresses, that are counted: each takes a hundred bytes. */
  rateLimitedKeysMax: 10_000,
  /** Mutations of one account that the audit trail keeps: a hundred a day for longer than their age allows. */
  auditRowsMax: 100_000,
  /** How long it keeps them: a year, and another month to ask about it. */
  auditKeptMs: 400 * 24 * 60 * 60 * 1_000,
  /** Rows of one page of it. */
  auditPageRowsMax: 1_000,
  /** What a page of it holds when nobody says. */
  auditPageRows: 100,
  /** What it is filtered by: the longest are worker names, titles and ids. */
  auditFilterCharactersMax: 512,
  /** API tokens of one account, a few for each of its workers: making one looks at all. */
  tokensMax: 1_000,
  /** A token's name is a line in a list. */
  tokenNameCharactersMax: 100,
  /** How long a deploy waits to be served by all connected nodes; usually they take 100 ms. */
  servedWaitMs: 2_000,
  /** Enrolment is a token, two names and a key. */
  enrolBodyBytesMax: 4 * KIB,
  /** What asks for `BLOBS_PER_CALL_MAX` blobs: hashes in JSON, with room for other spacing. */
  blobsRequestBytesMax: 64 * KIB,
  /** A blob that a node sends: a value of the key-value store, at most 25 MiB. */
  blobBytesMax: 25 * MIB,
  /** A node's link without an answer to a ping for this long is dead. */
  linkPingMs: 5_000,
  /** Bytes waiting for one node; past it the node is cut and starts over. */
  linkBufferedBytesMax: 64 * MIB,
  /** Blobs written at once by one upload: they wait for the disk, or the bucket, together. */
  blobWritesAtOnce: 16,
  /** Of many, what is no larger is written without a look whether it is there: it mostly is not, and the look takes as long. */
  blobRewrittenBytesMax: 64 * KIB,
  /** What is no larger is read whole, and not as a stream, which costs as much as reading a megabyte. */
  blobWholeBytesMax: 64 * KIB,
  /** Small blobs read at once for one node: they wait for the disk, or the bucket, together, and are sent in one piece. */
  blobReadsAtOnce: 16,
  /** What one answer to a node has of blobs, unless a single one is larger: a slow link has it within the call's minute. */
  blobsAnswerBytesMax: 16 * MIB,
  /** A blob that has been being written for so long never will be: a request has five minutes. */
  blobWritingMs: 60 * 60_000,
  /** Blobs that come in pieces and are held until they are known to be right; the next ones wait. */
  blobPiecesHeldMax: 4,
  /** A bucket is near: who takes longer to connect is not there. */
  s3ConnectMs: 2_000,
  /**
   * Blobs that are opened at once, by all nodes together. With those being written they are fewer than the client's
   * 50 connections: what waits for one of these counts as connecting, and fails after `s3ConnectMs`.
   */
  s3ReadsAtOnce: 32,
  /** A call that stands still for so long is made again: 25 MiB in pieces never do. */
  s3SilenceMs: 10_000,
  /** How often a call is made before it fails: a server that is started again is there by then. */
  s3AttemptsMax: 3,
  /** How often blobs are looked for that nothing names: reading all names takes seconds. */
  blobLookMs: 6 * 60 * 60_000,
  /** How long a blob has had no name before it is removed: longer than an upload, or than a node that is connected takes to follow. */
  blobUnnamedMs: 24 * 60 * 60_000,
  /** A removal that began so long ago is over, however it ended: all attempts of a bucket's call take less. */
  blobRemovalMs: 60_000,
  /** How long an upload waits for the removal of what it brings; past it it is refused, and may be repeated. */
  blobClaimWaitMs: 5_000,
  /** How often it looks whether that is over. */
  blobClaimLookMs: 20,
  /** Rows that one statement of that look reads or changes: others get their turn in between. */
  blobRowsPerStatement: 500,
  /** How often a backup begins again when something of it was collected meanwhile: that is rare. */
  backupAttemptsMax: 5,
  /** Rows of one statement of a move to another database, and their characters: some MB are in memory. */
  moveStatementRows: 1_000,
  moveStatementCharacters: 1_000_000,
  /** Master keys at a time: the current one, and those that some record may still need. */
  masterKeysMax: 16,
  /** Sealed records read at once while the master key is replaced. */
  sealedRowsPerStatement: 500,
  /** Usage is kept for the bills of a year, and another month to ask about them. */
  usageKeptMs: 400 * 24 * 60 * 60 * 1_000,
  /** What a question for usage is about when nobody says: a month. */
  usagePeriodMs: 31 * 24 * 60 * 60 * 1_000,
  /** Versions that one answer about usage lists; a shorter period or one worker has fewer. */
  usageVersionsMax: 10_000,
  /** Rows that one statement stores: their values stay below what databases take as parameters. */
  usageRowsPerStatement: 200,
  /** Cloudflare's own limit of namespaces per account. */
  namespacesMax: 1_000,
  /** Namespaces that a start looks up at the key-value store's origin at once. */
  namespacesCheckedAtOnce: 1_000,
  /** Cloudflare's own limit of a namespace's title. */
  namespaceTitleCharactersMax: 512,
  /** Cloudflare's own limit of one page of namespaces, and wrangler asks for as many. */
  namespacePageRowsMax: 1_000,
  /** What a page of namespaces holds when nobody says. */
  namespacePageRows: 20,
  /** Cloudflare's own least page of keys. */
  kvListKeysMin: 10,
  /** A value of 25 MiB, its metadata, and the multipart around them. */
  kvValueFormBytesMax: 25 * MIB + 16 * KIB,
  /** Cloudflare's own limit of one bulk write: 100 megabytes. */
  kvBulkBodyBytesMax: 100 * 1_000 * 1_000,
  /** 10,000 keys of 512 bytes, each byte escaped as six. */
  kvKeysBodyBytesMax: 32 * MIB,
  /** Restores, checks and exports at once: each reads much of a namespace, a page at a time. */
  kvManagementMax: 4,
  /** More of them, which wait for their turn; past it they are refused as `busy`. */
  kvManagementWaitingMax: 32,
  /** How often quotas are looked for that another process set: who set one waits this long for it. */
  quotaLookMs: 1_000,
  /** How often is stored what accounts without a bound have read and listed: a control plane that is killed loses this much of it. */
  kvNotedStoreMs: 1_000,
  /** Entries of an export that are charged together, before they are sent: with their values some MiB are in memory. */
  kvExportEntriesCharged: 100,
  /** Bodies of keys and values held in memory at once; more are refused as `busy`. */
  kvBodyBytesInFlightMax: 256 * MIB,
} as const;
