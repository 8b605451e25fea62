"use strict";

// What arrives from the server is shown as text: nothing here writes markup.

const longest = 200000; // characters of an answer that are shown

function element(tag, text, className) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  return e;
}

// Filter: cards whose name or text has what was typed.

function filterCards(query, found) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const protocol of document.querySelectorAll(".protocol")) {
    let here = 0;
    for (const card of protocol.querySelectorAll(".card")) {
      const text = card.dataset.text || (card.dataset.text = card.textContent.toLowerCase());
      card.hidden = !words.every((word) => text.includes(word));
      if (!card.hidden) here++;
    }
    protocol.hidden = here === 0 && words.length > 0;
    shown += here;
  }
  found.textContent = words.length === 0 ? "" : shown === 1 ? "1 method" : shown + " methods";
}

// A link into a protocol that is folded up opens it.

function openTarget() {
  // Names have no characters that a URL would escape.
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let e = target; e; e = e.parentElement) {
    if (e.tagName === "DETAILS") e.open = true;
  }
  target.scrollIntoView();
}

// The form: one JSON member for each parameter.

class InputError extends Error {}

function integerJSON(text, kind) {
  if (!/^[+-]?[0-9]+$/.test(text)) throw new InputError("want a whole number");
  const value = BigInt(text.replace(/^\+/, ""));
  const safe = value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER);
  return kind === "integer" && safe ? value.toString() : JSON.stringify(value.toString());
}

function floatJSON(text) {
  if (["NaN", "Infinity", "-Infinity"].includes(text)) return JSON.stringify(text);
  const value = Number(text);
  if (text === "" || !Number.isFinite(value)) throw new InputError("want a number, NaN, Infinity or -Infinity");
  return JSON.stringify(value);
}

// valueJSON is the JSON text of one field. Typed JSON goes out as it stands, so
// that no number in it loses digits.
function valueJSON(field) {
  const input = field.querySelector("input:not([data-null]):not([data-leave-out]), select, textarea");
  switch (field.dataset.kind) {
    case "bool":
      return String(input.checked);
    case "integer":
      return integerJSON(input.value.trim(), "integer");
    case "float":
      return floatJSON(input.value.trim());
    case "json": {
      const text = input.value.trim();
      try {
        JSON.parse(text);
      } catch (e) {
        throw new InputError("not JSON: " + e.message);
      }
      return text;
    }
    default:
      return JSON.stringify(input.value);
  }
}

function bodyOf(form) {
  const members = [];
  for (const field of form.querySelectorAll(".field")) {
    const name = field.dataset.name;
    if (field.querySelector("[data-leave-out]")?.checked) continue;
    const isNull = field.querySelector("[data-null]")?.checked;
    try {
      members.push(JSON.stringify(name) + ":" + (isNull ? "null" : valueJSON(field)));
    } catch (e) {
      if (!(e instanceof InputError)) throw e;
      throw new InputError(name + ": " + e.message);
    }
  }
  return "{" + members.join(",") + "}";
}

const authorization = () => document.getElementById("authorization")?.value.trim() || "";

const shellQuoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

// The secret itself never stands in the command: a variable does.
function curlOf(form, body) {
  const parts = ["curl", "-sS", "-H 'Content-Type: application/json'"];
  if (authorization()) parts.push('-H "Authorization: $AUTHORIZATION"');
  parts.push("--data-raw " + shellQuoted(body), shellQuoted(new URL(form.dataset.url, location.href).href));
  return parts.join(" ");
}

function pretty(value) {
  const text = JSON.stringify(value, null, 2);
  return text.length > longest ? text.slice(0, longest) + "\n…" : text;
}

function showLogs(answer, logs) {
  if (!Array.isArray(logs) || logs.length === 0) return;
  answer.append(element("h5", "Logs"));
  const lines = logs.map((log) => log.level + " " + log.message + (log.extra ? " " + JSON.stringify(log.extra) : ""));
  answer.append(element("pre", lines.join("\n")));
}

function showAnswer(answer, status, milliseconds, text) {
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  const reply = value !== null && typeof value === "object" ? value : {};
  const took = " in " + milliseconds.toFixed(1) + " ms";
  if (status < 300 && "result" in reply) {
    answer.append(element("p", "Succeeded" + took, "status ok"));
    answer.append(element("pre", pretty(reply.result)));
  } else {
    answer.append(element("p", (status === 200 ? "Failed" : "Failed with status " + status) + took, "status failed"));
    const failure = reply.error;
    if (failure !== null && typeof failure === "object") {
      answer.append(element("p", [failure.code, failure.kind, failure.type].filter(Boolean).join(" · "), "muted"));
      answer.append(element("pre", String(failure.message)));
      if (failure.details) answer.append(element("h5", "Details"), element("pre", pretty(failure.details)));
    } else {
      answer.append(element("pre", text.slice(0, longest) || "(no body)"));
    }
  }
  showLogs(answer, reply.logs);
}

async function call(form) {
  const answer = form.querySelector("[data-answer]");
  const button = form.querySelector("[type=submit]");
  answer.replaceChildren();
  answer.hidden = false;
  button.disabled = true;
  try {
    const body = bodyOf(form);
    const headers = { "Content-Type": "application/json" };
    if (authorization()) headers.Authorization = authorization();
    const begin = performance.now();
    const response = await fetch(form.dataset.url, {
      method: "POST", headers, body, credentials: "omit", redirect: "error", cache: "no-store",
    });
    const text = await response.text();
    showAnswer(answer, response.status, performance.now() - begin, text);
  } catch (e) {
    answer.append(element("p", e instanceof InputError ? e.message : "No answer: " + e.message, "status failed"));
  } finally {
    button.disabled = false;
  }
}

async function copyCurl(form) {
  const curl = form.querySelector("[data-curl]");
  const copied = form.querySelector("[data-copied]");
  copied.textContent = "";
  try {
    curl.textContent = curlOf(form, bodyOf(form));
  } catch (e) {
    if (!(e instanceof InputError)) throw e;
    copied.textContent = e.message;
    return;
  }
  curl.hidden = false;
  try {
    await navigator.clipboard.writeText(curl.textContent);
    copied.textContent = "Copied.";
  } catch {
    // No clipboard without a secure context: the command can be selected.
    getSelection().selectAllChildren(curl);
    copied.textContent = "Selected: copy it with the keyboard.";
  }
}

// Typing a value means to send it.
function typed(event) {
  if (event.target.matches("[data-null], [data-leave-out]")) {
    if (!event.target.checked) return;
    for (const other of event.target.closest(".field").querySelectorAll("[data-null], [data-leave-out]")) {
      if (other !== event.target) other.checked = false;
    }
    return;
  }
  for (const choice of event.target.closest(".field")?.querySelectorAll("[data-null], [data-leave-out]") ?? []) {
    choice.checked = false;
  }
}

const filter = document.getElementById("filter");
filter.addEventListener("input", () => filterCards(filter.value, document.getElementById("found")));
document.getElementById("tools").hidden = false;
for (const remark of document.querySelectorAll("[data-scriptless]")) remark.remove();
for (const form of document.querySelectorAll("form[data-url]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    call(form);
  });
  form.addEventListener("input", typed);
  form.querySelector("[data-copy]").addEventListener("click", () => copyCurl(form));
  for (const button of form.querySelectorAll("button")) button.disabled = false;
}
addEventListener("hashchange", openTarget);
openTarget();
