const element = (id) => document.querySelector(`#${id}`);

try {
  const response = await fetch("/api/visit", { method: "POST" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const { region, isolate, visits } = await response.json();
  // Only the answer for which a cell was started carries the time that took; often that is this page,
  // and the call behind it is the first that the code answers.
  const coldMs = response.headers.get("x-atoll-cold");
  const age = isolate.requests === 1 ? "just now" : `${isolate.ageSeconds} s ago`;
  const counts = Object.entries(visits).sort(([one], [other]) => one.localeCompare(other));
  element("region").textContent = region;
  element("start").textContent = coldMs === null ? age : `in ${coldMs} ms`;
  element("visits").textContent = counts.reduce((sum, [, count]) => sum + count, 0);
  element("regions").replaceChildren(...counts.map(([name, count]) => item(name, count)));
} catch (error) {
  element("region").textContent = `no answer (${error.message})`;
}

function item(name, count) {
  const made = document.createElement("li");
  const code = document.createElement("strong");
  code.textContent = name;
  made.append(code, ` ${count}`);
  return made;
}
