// The API behind the page: which region answers, and how many visits each region has counted.
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
    return Response.json({ region, visits: await countVisit(env.VISITS, region) });
  },
};

// One key per region, so that regions never overwrite each other's count. Two visits at the same
// moment in the same region may count as one: KV replicates values, it does not add them up.
async function countVisit(visits, region) {
  const own = Number((await visits.get(region)) ?? 0) + 1;
  await visits.put(region, String(own));
  const { keys } = await visits.list({ limit: 100 });
  const counts = await visits.get(keys.map((key) => key.name));
  return Object.fromEntries([...counts].map(([name, count]) => [name, Number(count)]));
}
