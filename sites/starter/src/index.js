// The API behind the page: which region answers, how warm the worker is, and how many visits each
// region has counted.

// Lives as long as the isolate: a cold start begins anew. Its clock starts with the first request, as
// time stands still for a worker before.
const isolate = { requests: 0, firstRequestAt: 0 };

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname !== "/api/visit")
      return Response.json({ error: `nothing at ${pathname}` }, { status: 404 });
    if (request.method !== "POST")
      return Response.json(
        { error: "POST counts a visit" },
        { status: 405, headers: { allow: "POST" } },
      );
    const region = String(request.cf?.colo ?? "here").toLowerCase();
    isolate.requests += 1;
    isolate.firstRequestAt ||= Date.now();
    const ageSeconds = Math.floor((Date.now() - isolate.firstRequestAt) / 1000);
    const visits = await countVisit(env.VISITS, region);
    return Response.json({ region, isolate: { requests: isolate.requests, ageSeconds }, visits });
  },
};

// One key per region, so that regions never overwrite each other's count. Two visits at the same
// moment in the same region may count as one: KV replicates values, it does not add them up.
async function countVisit(visits, region) {
  const own = Number((await visits.get(region)) ?? 0) + 1;
  // Writing needs the control plane, reading does not: without it the visit goes uncounted.
  await visits.put(region, String(own)).catch((error) => console.warn(error.message));
  const { keys } = await visits.list({ limit: 100 });
  const counts = await visits.get(keys.map((key) => key.name));
  return Object.fromEntries([...counts].map(([name, count]) => [name, Number(count)]));
}
