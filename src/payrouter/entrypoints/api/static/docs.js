"use strict";

const key = document.getElementById("key");
const shell = document.getElementById("shell");
shell.textContent = shell.textContent.replace("http://localhost:9999", location.origin);
if (key) key.hidden = false;

function request(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = {};
  for (const input of form.querySelectorAll("input")) {
    const { name, value } = input;
    if (input.dataset.in === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value && input.dataset.in === "query") query.append(name, value);
    else if (value) headers[name] = value;
  }
  const options = { method: form.dataset.method, headers, cache: "no-store" };
  if (form.elements.body) {
    headers["Content-Type"] = "application/json";
    options.body = form.elements.body.value;
  }
  const secret = key && key.querySelector("input").value;
  if (secret) headers["Authorization"] = `Bearer ${secret}`;
  return [query.size ? `${path}?${query}` : path, options];
}

async function send(form) {
  const shown = form.querySelector(".answer");
  shown.hidden = false;
  shown.textContent = "…";
  try {
    const answer = await fetch(...request(form));
    const text = await answer.text();
    shown.textContent = `${answer.status} ${answer.statusText}\n\n${text}`;
  } catch (error) {
    shown.textContent = `no answer: ${error.message}`;
  }
}

for (const form of document.querySelectorAll("form")) {
  form.hidden = false;
  if (form.elements.body) form.elements.body.value = form.elements.body.value.replace(
    /"correlationId":"[^"]*"/, () => `"correlationId":"${newId()}"`);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
}

function newId() {  // crypto.randomUUID is only there on https and localhost
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
