/** Every bound of a node, with its reason. Sizes are bytes unless the name says otherwise. */
export const LIMITS = {
  /**
   * From taking a zygote to every socket listening. Starting takes 20 ms; large bundles on a busy
   * machine take a second or two; what is longer is a loop at the top level.
   */
  cellStartMs: 10_000,
  /** Top-level code of a new version, by the clock on the wall: it waits for nothing but the machine. */
  preflightStartMs: 10_000,
  /** CPU time of top-level code, Cloudflare's limit. An empty worker takes 20 ms of it. */
  preflightStartCpuMs: 1_000,
  /** How often the CPU time of a start is looked at. */
  startCheckMs: 50,
  /** Versions that start at once to be checked: each is a process of its own. */
  preflightsMax: 2,
  /** What a cell may take to end after SIGTERM before SIGKILL: in-flight work was drained before. */
  cellStopMs: 1_000,
  /** The end of a cell's output that is kept for its exit report: a stack trace fits many times. */
  cellOutputTailBytes: 16 * 1024,
  /** One line of a cell's output; the rest of a longer one is dropped, so that no log is flooded. */
  cellOutputLineBytes: 16 * 1024,
  /** What of a cell's output is kept at once: what Cloudflare keeps of a request's logs. */
  cellOutputBytes: 256 * 1024,
  /** What is kept of it over time: 700 MB a day from one that never stops, which a log's keeper gets along with. */
  cellOutputBytesPerSecond: 8 * 1024,
  /** What a log adds to each line. */
  cellOutputLineExtraBytes: 128,
  /** One line on a cell's control descriptor: workerd writes less than 200 bytes. */
  cellControlLineBytes: 4 * 1024,
  /** 107 bytes of a unix socket's path, less `/<8 digits>/health.sock` and some room for `w<n>.sock`. */
  runDirectoryBytesMax: 84,
  /** CPU time of one turn of a worker's thread, unless it asks for another one. */
  turnCpuMs: 1_000,
  /** The longest turn that a worker may ask for. */
  turnCpuMsMax: 30_000,
  /** What a cell that does nothing takes after it got its config, with room for a large bundle's code. */
  idleCellMemoryBytes: 16 * 1024 * 1024,
  /**
   * What workerd keeps of requests that are over: V8 sees little of it and collects it late. The smallest
   * worker gets to 120 MB within 30,000 requests, and stays at 230 to 280 MB for ever under load.
   */
  cellGarbageBytes: 288 * 1024 * 1024,
  /** Workers of a shared cell that need not share it: a fault of one breaks off what all have in flight. */
  sharedCellWorkersMax: 20,
  /** Their code: 1.5 MB of memory each besides, all below the limit of one cell. */
  sharedCellCodeBytesMax: 8 * 1024 * 1024,
  /**
   * By how much a cell counts as larger when the machine is out of memory, in thousandths of that: more than any agent has.
   * All cells together may be granted more than there is.
   */
  cellOomScore: 500,
  /** Threads of a cell: workerd has one for each core to compile with, and a few more. */
  cellThreadsMax: 256,
  /** Part of its disk that a node's key-value store may take: three nodes on one machine leave most of it. */
  kvBudgetShare: 0.1,
  /** A smaller one would fetch nearly every value, and a disk that small is a test's. */
  kvBudgetBytesMin: 64 * 1024 * 1024,
  /** Part of that budget for values that were fetched: those over 64 KiB, and of partial namespaces. */
  kvCacheShare: 0.25,
  /** How often cells that work are looked at: a tenth of the usual turn. */
  watchdogMs: 100,
  /** How often all cells are sampled: a loop in one that was idle ends within its limit and a second. */
  watchdogSampleMs: 500,
  /** A cell that uses more of a core than this works; less is noise. */
  watchdogBusyShare: 0.1,
  /** CPU time after which a cell has to answer a probe: with it a loop is over soon after its limit. */
  watchdogProbeCpuMs: 250,
  /** A probe without an answer for this long is given up, and another one sent. */
  watchdogAnswerMs: 60_000,
  /**
   * How long requests wait for the end of a cell that is dying, and for its reason. The end of a process is
   * known in ms; on a machine that is overrun it was seen to take seconds.
   */
  cellEndMs: 10_000,
  /** How long the reason of a cell's end is kept for the requests that it broke off. */
  lossMemoryMs: 10_000,
  /** Latest ends of cells that nobody wanted which a node's status shows. */
  cellFaultsMax: 20,
  /** What setting up a sandbox may take: it takes 10 ms, and a second on a machine that is overrun. */
  sandboxSetupMs: 10_000,
  /** Files and sockets that a cell has open: three for each of thousands of requests in flight. */
  cellDescriptorsMax: 16_384,
  /** A cell's `/tmp`, which workerd does not use: node:fs has a file system in the isolate's memory. */
  cellTemporaryBytesMax: 1024 * 1024,
  /** Sites whose files are linked at once, ahead of need: it must not slow down what serves. */
  siteTreesMax: 2,
  /**
   * From the taking of a ready site to the making of the next one: a cell starts meanwhile, and that of a cell which it
   * replaces mostly comes back before.
   */
  siteTreeRefillMs: 1_000,
  /** Files of one directory that are linked at once. */
  siteLinksMax: 64,
  /**
   * From the last start to the first zygote that takes the place of those used: starting one takes the machine
   * as much as a cell's own start, and the request that waited for that is answered by then.
   */
  zygoteRefillMs: 50,
  /** Between a zygote that died and the next try: what ended it, such as a full disk, lasts. */
  zygoteRetryMs: 500,
  /** A compiled config. An upload has at most 64 MiB, and several workers may share a cell. */
  configBytesMax: 512 * 1024 * 1024,
  /** Compiling takes 40 ms; what takes this long is stuck. */
  configCompileMs: 30_000,
  /** Compilers at work at once: a node that starts with hundreds of workers keeps serving meanwhile. */
  configCompilesMax: 2,
  /** An answer of a cell to the node itself, of its health socket or its trigger: those have some 100 bytes. */
  cellAnswerBytesMax: 1024 * 1024,
  /** Answers of a fresh cell's health socket take 1 ms; a cell that misses this is not switched to. */
  cellProbeMs: 5_000,
  /** Cells that an apply starts at once, beside those that serve: more would slow the requests down. */
  cellStartsMax: 5,
  /** Of these, those of one account: others need not wait for its starts, however long they take. */
  cellStartsOfAccountMax: 4,
  /** How long an apply waits for one of them: a large bundle on a busy machine takes a second or two. */
  besideStartMs: 5_000,
  /** How often an apply looks for workers that came into use meanwhile; a miss costs a cold request. */
  warmUpRoundsMax: 3,
  /** How often an activation starts anew because an apply replaced its group meanwhile. */
  activationRoundsMax: 4,
  /** What the contract allows as the reason of a failure. */
  failureReasonLengthMax: 2_000,
  /** A thread that has something to do for so much of the time has a core's work. */
  fullCoreShare: 0.9,
  /** A cell that gets less of a core is on a machine without one to spare: further cells would gain nothing. */
  grantedCoreShare: 0.3,
  /** Cores of the machine with nothing to do without which a group gets no further cell: it would only take turns. */
  growSpareCores: 0.5,
  /** What the others may have to do at most after a cell of several was taken away: far from a core's work. */
  spareCoreShare: 0.4,
  /** Looks in a row that find all cells of a group full before it gets one more: 4 s. */
  growLooks: 2,
  /** Looks in a row that find one cell too many before it goes: 30 s, because load comes and goes. */
  shrinkLooks: 15,
  /** Cells of one worker: each costs every request of a worker with several a microsecond in HAProxy. */
  workerCellsMax: 8,
  /** Requests that wait for one cold cell. Starts take 20 ms: more than this is a flood. */
  activationQueueMax: 1_000,
  /** A cell without traffic for this long is stopped; starting it again costs one cold request. */
  idleMs: 10 * 60 * 1_000,
  /** How often who was idle, who must make room and who needs company is decided. */
  cellLookMs: 2_000,
  /** What all cells may take of the memory that the agent may use; the rest is the agent's and the host's. */
  memoryBudgetShare: 0.5,
  /** Cells that are started ahead at once: it must not slow down what serves. */
  prewarmsMax: 2,
  /** A worker that served within this time is started again at once when its cell dies. */
  warmRestartMs: 5 * 60 * 1_000,
  /** Between two tries to do so, where it is the node that can't, as on a full disk: that lasts. */
  restartRetryMs: 500,
  /** The first wait after a repeated death; it doubles with each further one. */
  cellBackoffMs: 250,
  /** The longest wait between two starts of a cell that keeps dying: recovery within a minute. */
  cellBackoffMsMax: 60_000,
  /** A request waits this long for a cell that rests; when the rest is longer, it fails at once. */
  backoffHoldMs: 1_000,
  /** A cell that lived this long was healthy: its earlier deaths no longer count. */
  cellHealthyMs: 60_000,
  /** Started ahead of need: cold starts that come at the same time in quiet times, at 5 MB each. */
  zygoteCount: 3,
  /** The same when starts come in bursts, such as after many cells were put to sleep. */
  zygoteCountMax: 16,
  /** After this long a start counts half in how many are expected. */
  zygoteRateHalfLifeMs: 15_000,
  /** How often zygotes that nobody needs any more are looked for. */
  zygoteTrimMs: 5_000,
  /** Zygotes that are started at once. */
  zygoteAdditionsMax: 4,
  /** A small call to the control plane; it answers in milliseconds or not at all. */
  controlPlaneCallMs: 10_000,
  /** One answer with blobs: of some 16 MiB, or with one of at most 64 MiB, over a slow link. */
  blobTransferMs: 60_000,
  /** For how long it may stand still: a control plane reads a blob whole from a bucket before it sends any of it. */
  blobSilenceMs: 30_000,
  /** The ceiling of the first wait before the link is tried again; it doubles with each failure. */
  reconnectMs: 200,
  /** The highest ceiling: a control plane that returns has its whole fleet back within this. */
  reconnectMsMax: 10_000,
  /** A connection that stood this long was a good one: the waits after its end begin anew. */
  linkLastingMs: 2_000,
  /** How often what could not be made to run is tried again, besides with each change and connection. */
  failedWorkersRetryMs: 30_000,
  /** The control plane pings every 5 s: three missed pings mean that the link is dead. */
  linkSilenceMs: 16_000,
  /** How often a node looks whether another day has begun: what was refused is served again so soon. */
  dayLookMs: 1_000,
  /** Requests of one worker within a second that are refused for their account's quota and told of in full. */
  quotaRefusalsTold: 20,
  /** How often a node reports its cells and its lag: what `atoll status` shows is hardly older than this. */
  reportMs: 2_000,
  /** How often usage goes to disk and on to the control plane: what a node that is killed can lose of it. */
  usageSealMs: 5_000,
  /**
   * Batches of usage that wait for the control plane, of 2,000 rows each: what a thousand workers use in
   * three weeks. They are held in memory as well.
   */
  usageBatchesMax: 250,
  /** How old an answer about a preview may be: an alias that was moved leads there after this. */
  previewFreshMs: 1_000,
  /** Previews that are looked up at once: people look at one, and whoever guesses names has to wait. */
  previewLookupsMax: 8,
  /** Answers about previews that are remembered, also that there is none. */
  previewAnswersMax: 1_000,
  /** Versions that are here for their previews alone: what everybody of an account looks at on one day. */
  previewVersionsMax: 50,
  /** An answer about a preview is one document: a control plane that takes longer is not there. */
  previewLookupMs: 5_000,
  /** Blobs that are looked for, or written, at once: enough to keep a disk busy, few enough for all else to have it, too. */
  blobFilesAtOnce: 16,
  /** What has come of blobs is written when it has this many bytes, or is so many: it is in memory until then. */
  blobGroupBytes: 1024 * 1024,
  blobGroupCount: 128,
  /** Longer than any host (253) with a path that fits a browser's address bar. */
  routePatternLengthMax: 1_024,
  /** Cloudflare's own limit of a URL. */
  requestUrlBytesMax: 16 * 1024,
  /**
   * A request's URL and the header lines that go on to the worker, together: cookies and tokens of real
   * applications need less than half. All of it has to fit a buffer of HAProxy's, which is copied for every
   * request.
   */
  requestHeadBytesMax: 24 * 1024,
  /** Header lines of a request or an answer; browsers send some twenty, and each takes room of its own. */
  headerLinesMax: 500,
  /** What an ingress adds to a request's head: a few hundred bytes, and what compression a client takes. */
  callerHeadersBytesMax: 2 * 1024,
  /** `accept-encoding`, which is added once more in `request.cf`; a longer one is rare. */
  acceptEncodingBytesMax: 256,
  /** From a connection's first byte to the end of the head: what is slower only holds a connection. */
  requestHeadMs: 10_000,
  /** A request's body: what Cloudflare takes on most plans. */
  requestBodyBytesMax: 100 * 1024 * 1024,
  /**
   * Cells that a request is sent to, one after the other, because each of them was gone before it answered.
   * Chance meets two of them in a row; what meets four is no chance, and its client has to hear of it.
   */
  requestAttemptsMax: 4,
  /** WebSockets of one cell: each takes a descriptor of the cell's, and requests need some, too. */
  cellWebSocketsMax: 5_000,
  /** A cell that sends nothing for so long in the midst of an answer: event streams send more often. */
  cellAnswerIdleMs: 5 * 60 * 1_000,
  /** Between two pieces of a request's body that the cell waits for. */
  requestBodyIdleMs: 60_000,
  /** Idle client connections; longer than the pauses of a page's reader, so that links open at once. */
  clientIdleMs: 65_000,
  /** Requests of one connection that are answered at the same time; no real client pipelines more. */
  pipelinedRequestsMax: 32,
  /** How long a client that ended its sending side still gets the answer: then it counts as gone. */
  halfCloseGraceMs: 1_000,
  /** What a client may take to send the rest of a body that the worker answered without reading. */
  bodyDiscardMs: 2_000,
  /** Of requests that fail alike one is told in this time: what fails at once may fail thousands of times. */
  failureLogMs: 1_000,
  /** How long a call of `scheduled()` may take, as long as Cloudflare's. */
  scheduledMs: 15 * 60_000,
  /** How often a node says which of them it has: several times within the control plane's lease of 30 s. */
  scheduledTellMs: 5_000,
  /** How often watched workers are looked at: those under load tell for a part of this time. */
  tailLookMs: 1_000,
  /**
   * Events of a cell between two looks after which it rests. Telling one costs more than a small request; at
   * 5,000 requests a second this many, and those until the change, are a twentieth of them.
   */
  tailEventsPerLook: 100,
  /** Events of one worker that go to watchers within a second, whatever their number: nobody reads faster. */
  tailEventsPerSecond: 400,
  /** The same in characters of JSON: an event has a thousand, and may have several hundred thousand. */
  tailCharactersPerSecond: 1024 * 1024,
  /** One event: workerd cuts off what a request logs after 256 KiB, which JSON may write twice as long. */
  tailEventCharactersMax: 768 * 1024,
  /** What waits on the link by which news of watched workers are dropped: state and KV go first. */
  tailLinkBytesMax: 1024 * 1024,
  /** What a cell tells with one call: a bundle of events with two million characters, and what UTF-8 adds. */
  tailBodyBytesMax: 8 * 1024 * 1024,
  /** Calls of cells that tell something at once: each has one for each watched worker. */
  tailConnectionsMax: 1_000,
  /** How long requests and WebSockets of a replaced cell may go on: most requests take far less. */
  drainMs: 30_000,
  /** Header lines of a worker's answer that go on to the client; they have to fit the same buffer. */
  cellHeadBytesMax: 24 * 1024,
  /** Idle connections to a cell. workerd closes its idle connections later, so it never races with us. */
  cellIdleConnectionMs: 4_000,
  /** Client connections of one node's ingress: each costs about 10 KiB and a descriptor. */
  clientConnectionsMax: 50_000,
  /** Starting HAProxy takes 50 ms; what takes this long does not listen at all. */
  ingressStartMs: 10_000,
  /** HAProxy that ran this long was healthy: it is started again at once. */
  ingressHealthyMs: 60_000,
  /** The longest wait between two starts of a HAProxy that keeps ending. */
  ingressBackoffMsMax: 5_000,
  /** How often what HAProxy tells of requests is read: being woken for each would cost more than all else. */
  requestLogMs: 100,
  /** What HAProxy keeps of it for an agent that is busy: 80,000 requests. */
  requestLogBytesMax: 8 * 1024 * 1024,
  /** What it tells of one request: a worker's key, two names and eight numbers. */
  requestLineBytesMax: 400,
  /** The last requests before its end are told of within a millisecond, or not at all. */
  requestLogFlushMs: 1_000,
  /** What HAProxy says to one command: its statistics are a few hundred bytes for each backend. */
  runtimeAnswerLengthMax: 4 * 1024 * 1024,
  /**
   * Bytes of a map's entries that travel in one command. HAProxy ends the connection when a command doesn't
   * fit its buffer, which is made for `requestHeadBytesMax`.
   */
  runtimePayloadLengthMax: 16 * 1024,
  /** Namespaces that metrics tell of one by one: each is two lines, and a series that somebody keeps. */
  metricsNamespacesMax: 200,
  /** Connections that read metrics: a few collectors, and somebody who looks. */
  metricsConnectionsMax: 16,
  /** A scrape's request is one small packet on the same machine. */
  metricsRequestMs: 5_000,
  /** Heads that cells send and servers answer with: workerd itself writes no larger ones. */
  egressHeadBytesMax: 64 * 1024,
  /** Subrequests of one request, unless the worker asks for more: Cloudflare's own default. */
  subrequests: 50,
  /** The most that a worker may ask for. */
  subrequestsMax: 10_000,
  /** How old the number of a cell's requests may be by which its subrequests are counted. */
  subrequestCountMs: 1_000,
  /** How long a request may go on after its answer, with `waitUntil`: Cloudflare's own limit. */
  waitUntilMs: 30_000,
  /** Outgoing requests and sockets of one cell in flight: far above what one thread can make use of. */
  egressRequestsMax: 1_000,
  /** Calls of `caches` at once, of all cells: each takes milliseconds, and whoever takes long makes room for others. */
  cacheConnectionsMax: 1_000,
  /** Connections of one cell for each that may be in flight: those beyond get their 503 over one of their own. */
  egressConnectionsPerRequest: 4,
  /** Hosts that one cell has connections to at a time. */
  egressOriginsMax: 1_000,
  /** A resolver that takes longer has lost the question. */
  egressResolveMs: 5_000,
  /** What DNS has said by then counts: a name's servers may answer for IPv4 and never for IPv6. */
  egressDnsMs: 4_000,
  /** A DNS server that has not answered by then is asked once more, or another one is. */
  egressQuestionMs: 1_000,
  egressQuestionsMax: 2,
  /** Names of one cell that are looked up at once: resolvers of a machine bound what waits in them, for everybody. */
  egressLookupsMax: 32,
  /** TCP and TLS handshakes around the world take half a second; this allows for lost packets. */
  egressConnectMs: 10_000,
  /** From the request to the head of the answer: what Cloudflare gives an origin. */
  egressAnswerMs: 100_000,
  /** Between two pieces of an answer's body: event streams send something more often than this. */
  egressIdleMs: 5 * 60 * 1_000,
  /** Idle connections to servers; shorter than what common servers keep. */
  egressIdleConnectionMs: 4_000,
} as const;
