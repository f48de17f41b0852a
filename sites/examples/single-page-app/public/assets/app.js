const ISLANDS = {
  fuvahmulah: "One island, alone in the Equatorial Channel.",
  rangiroa: "A lagoon that could hold the whole island of Tahiti.",
  kiritimati: "Where each day on Earth begins.",
};

const VIEWS = [
  [/^\/$/, () => element("ul", ...Object.keys(ISLANDS).map((name) => element("li", link(name))))],
  [/^\/islands\/([a-z]+)$/, (name) => element("p", ISLANDS[name] ?? `No island is called ${name}.`)],
  [/^\/about$/, () => element("p", "One file of HTML. Every path leads to it.")],
];

function render() {
  for (const [pattern, view] of VIEWS) {
    const match = pattern.exec(location.pathname);
    if (match) return document.querySelector("#view").replaceChildren(view(...match.slice(1)));
  }
  document.querySelector("#view").replaceChildren(element("p", "There is no such page."));
}

function link(name) {
  const anchor = element("a", name);
  anchor.href = `/islands/${name}`;
  return anchor;
}

function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

addEventListener("click", (event) => {
  const anchor = event.target.closest("a");
  // Only what this page can draw itself stays in the page; /source is a redirect of the server.
  if (!anchor || !VIEWS.some(([pattern]) => pattern.test(anchor.pathname))) return;
  event.preventDefault();
  history.pushState(undefined, "", anchor.href);
  render();
});
addEventListener("popstate", render);
render();
