const element = (id) => document.querySelector(`#${id}`);

try {
  const response = await fetch("/api/visit", { method: "POST" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const { region, visits } = await response.json();
  // Only the answer for which a cell was started carries the time that took.
  const coldMs = response.headers.get("x-atoll-cold");
  const counts = Object.entries(visits).sort(([one], [other]) => one.localeCompare(other));
  element("region").textContent = region;
  element("start").textContent = coldMs === null ? "warm" : `cold, ${coldMs} ms`;
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
