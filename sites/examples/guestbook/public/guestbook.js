const form = document.querySelector("#sign");
const list = document.querySelector("#entries");
const problem = document.querySelector("#problem");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const response = await fetch("/api/entries", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(Object.fromEntries(new FormData(form))),
    });
    if (!response.ok) throw new Error((await response.json()).error);
    form.reset();
    await show();
  } catch (error) {
    report(error);
  } finally {
    button.disabled = false;
  }
});

async function show() {
  const response = await fetch("/api/entries");
  if (!response.ok) throw new Error(`The entries could not be read (${response.status}).`);
  const { region, entries } = await response.json();
  document.querySelector("#region").textContent = region;
  document.querySelector("#empty").hidden = entries.length > 0;
  list.replaceChildren(...entries.map(item));
  problem.hidden = true;
}

// Text only ever enters the page as text: a visitor's message can hold no markup.
function item(entry) {
  const element = document.createElement("li");
  const message = document.createElement("p");
  message.textContent = entry.message;
  const name = document.createElement("strong");
  name.textContent = entry.name;
  const time = document.createElement("time");
  time.dateTime = entry.at;
  time.textContent = new Date(entry.at).toLocaleString();
  const footer = document.createElement("footer");
  footer.append(name, ` from ${entry.region} · `, time);
  element.append(message, footer);
  return element;
}

function report(error) {
  problem.textContent = error.message;
  problem.hidden = false;
}

show().catch(report);
