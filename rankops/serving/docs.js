"use strict";
async function send(operation) {
  const shown = operation.querySelector(".answer");
  shown.hidden = false;
  shown.textContent = "...";
  let path = operation.dataset.path;
  const query = new URLSearchParams();
  const headers = {};
  for (const input of operation.querySelectorAll("input[data-in]")) {
    const { in: place, name } = input.dataset;
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(input.value));
    else if (input.value !== "" && place === "query") query.set(name, input.value);
    else if (input.value !== "") headers[name] = input.value;
  }
  const key = document.getElementById("key");
  if (key && key.value) headers["X-Api-Key"] = key.value;
  const body = operation.querySelector("textarea");
  if (body) headers["Content-Type"] = "application/json";
  // relative to this page, so that it also works where a gateway adds a prefix
  const url = path.replace(/^\//, "") + (query.size ? `?${query}` : "");
  try {
    const answer = await fetch(url || ".", { method: operation.dataset.method, headers, body: body ? body.value : undefined });
    let text = await answer.text();
    try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON */ }
    shown.textContent = `${answer.status} ${answer.statusText}\n${text}`;
  } catch (error) {
    shown.textContent = String(error);
  }
}
for (const operation of document.querySelectorAll(".operation")) {
  operation.querySelector("button").addEventListener("click", () => send(operation));
}
