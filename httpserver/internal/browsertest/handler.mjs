// Visits handlers of the conformance service: "prefixed" (below /vgi, with JSON,
// CORS, sessions and limits), "bare" (at the root, with JSON), "locked" (below
// /vgi, for bearers alone) and "readable" (likewise, but everybody sees its
// pages). Pages of the origin "friend" may call, those of "stranger" may not.

import { strict as assert } from "node:assert";
import { background, browser, config, fits, shot, step } from "./harness.mjs";

const { prefixed, bare, locked, readable, friend, stranger, markup, token, requests } = config;
const protocol = "ConformanceService";
const arrow = "application/vnd.apache.arrow.stream";
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
  "form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const card = (page, method) => page.locator(`[id="${protocol}/${method}"]`);
const field = (form, name) => form.locator(`.field[data-name="${name}"]`);
const input = (form, name) => field(form, name).locator("input, select, textarea").first();

// visit opens one of the pages and checks how it came and that all of it did.
async function visit(page, url, status) {
  const response = await page.goto(url);
  const headers = response.headers();
  assert.equal(response.status(), status, url);
  assert.equal(headers["content-security-policy"], policy, url);
  assert.equal(headers["x-content-type-options"], "nosniff", url);
  assert.equal(headers["content-type"], "text/html; charset=utf-8", url);
  assert.equal(headers["cache-control"], "no-store", url);
  const [styled, logo] = await page.evaluate(() =>
    [getComputedStyle(document.documentElement).getPropertyValue("--text") !== "", document.querySelector("img.logo").naturalWidth]);
  assert.ok(styled, "the style sheet is missing from " + url);
  assert.ok(logo > 0, "the logo is missing from " + url);
  return response;
}

// Every page: where it is, its name, its status.
const pages = [
  [prefixed + "/vgi", "landing", 200],
  [prefixed + "/vgi/describe", "describe", 200],
  [prefixed + "/vgi/nowhere", "notfound", 404],
  [locked + "/vgi/describe", "unauthorized", 401],
];

for (const [where, origin, prefix] of [["below a prefix", prefixed, "/vgi"], ["at the root", bare, ""]]) {
  await step("the pages of a handler " + where, { origins: [origin] }, async (page) => {
    const landing = origin + (prefix || "/");
    await visit(page, landing, 200);
    assert.equal(await page.locator("h1").innerText(), protocol);
    await page.getByRole("link", { name: "View service API" }).click();
    await page.waitForURL(origin + prefix + "/describe");
    await page.locator("#filter").waitFor(); // the script shows it
    await page.getByLabel("Find a method").fill("echo_string");
    assert.ok(await card(page, "echo_string").isVisible());
    assert.ok(!(await card(page, "add_floats").isVisible()));
    assert.equal(await card(page, "produce_n").locator("details.tryit").count(), 0, "a stream has no form");
    for (const path of ["/nowhere", "/nowhere/at/all", "/_assets"]) {
      await visit(page, origin + prefix + path, 404);
      assert.equal(await page.title(), "404 Not Found");
      await page.getByRole("link", { name: "Service page" }).click();
      await page.waitForURL(landing);
    }
  });
}

await step("below a prefix the root is another place", { origins: [prefixed] }, async (page) => {
  await visit(page, prefixed + "/describe", 404);
  await visit(page, prefixed + "/vgi/", 200);
});

await step("who is not let in reads why", { origins: [locked] }, async (page) => {
  const response = await visit(page, locked + "/vgi/describe", 401);
  assert.equal(await page.title(), "401 Unauthorized");
  assert.equal(await page.locator("main code.chip").innerText(), "missing_credential");
  const headers = response.headers();
  assert.equal(headers["www-authenticate"], "Bearer");
  assert.equal(headers["vgi-auth-reason"], "missing_credential");
});

await step("who brings a credential sees the page", { origins: [locked], extraHTTPHeaders: { Authorization: "Bearer " + token } }, async (page) => {
  await visit(page, locked + "/vgi/describe", 200);
  await page.locator("#filter").waitFor();
  assert.equal(await page.locator("details.tryit").count(), 0, "there is no gateway for a form");
});

for (const colorScheme of ["light", "dark"]) {
  await step("the pages are " + colorScheme + " for who wants that", { origins: [prefixed, locked], colorScheme }, async (page) => {
    for (const [url, name, status] of pages) {
      await visit(page, url, status);
      const [red, , , alpha] = await background(page);
      assert.notEqual(alpha, 0, url + " has no background of its own");
      assert.ok(colorScheme === "dark" ? red < 60 : red > 200, `the background of ${url} is not ${colorScheme}`);
      await shot(page, `handler-${name}-${colorScheme}`);
    }
  });
}

const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };

await step("nothing scrolls sideways on a phone", { origins: [prefixed, locked], ...phone }, async (page) => {
  for (const [url, name, status] of pages) {
    await visit(page, url, status);
    await fits(page, url);
    await shot(page, `handler-${name}-phone`);
  }
  await page.goto(prefixed + "/vgi/describe");
  await page.evaluate(() => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  await fits(page, "the description, unfolded,");
});

await step("the pages cannot be framed", { origins: [friend, prefixed], expectComplaints: true }, async (page, { complaints }) => {
  await page.goto(friend);
  await page.evaluate((src) => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = done;
    frame.src = src;
    document.body.append(frame);
  }), prefixed + "/vgi/describe");
  assert.ok(complaints.some((c) => c.includes("frame-ancestors")), complaints.join("; "));
});

// The form.

// form opens the form of a method.
async function form(page, method) {
  const details = card(page, method).locator("details.tryit");
  await details.locator("summary").click();
  return details.locator("form");
}

// submit calls the method, and returns what is shown then.
async function submit(form) {
  await form.locator("[type=submit]").click();
  await form.locator("[data-answer] .status").waitFor();
  return (await form.locator("[data-answer]").innerText()).trim();
}

// result is what a call succeeded with.
async function result(form) {
  const text = await submit(form);
  assert.match(text, /^Succeeded in /);
  return JSON.parse(await form.locator("[data-answer] pre").first().innerText());
}

for (const [where, base] of [["below a prefix", prefixed + "/vgi"], ["at the root", bare]]) {
  await step("the form of a handler " + where + " calls", { origins: [new URL(base).origin] }, async (page) => {
    await page.goto(base + "/describe");
    const f = await form(page, "add_floats");
    await input(f, "a").fill("1.5");
    await input(f, "b").fill("2");
    const [request] = await Promise.all([page.waitForRequest((r) => r.method() === "POST"), submit(f)]);
    assert.equal(request.url(), `${base}/${protocol}/add_floats?format=json`);
    assert.equal(request.postData(), '{"a":1.5,"b":2}');
    const headers = await (await request.response()).allHeaders();
    assert.equal(headers["content-type"], "application/json");
    assert.equal(headers["cache-control"], "no-store");
    assert.ok(headers["x-request-id"]);
    assert.equal(await result(f), 3.5);
  });
}

await step("values of many types come back as they went", { origins: [prefixed] }, async (page) => {
  await page.goto(prefixed + "/vgi/describe");
  for (const [method, name, typed, want] of [
    ["echo_string", "value", "żółw 🐢 \"quoted\" \\ back", "żółw 🐢 \"quoted\" \\ back"],
    ["echo_bytes", "data", "AAEC/w==", "AAEC/w=="],
    ["echo_int", "value", "-9007199254740993", "-9007199254740993"],
    ["echo_uint64", "value", "18446744073709551615", "18446744073709551615"],
    ["echo_int8", "value", "-128", -128],
    ["echo_float", "value", "0.1", 0.1],
    ["echo_float", "value", "NaN", "NaN"],
    ["echo_date", "value", "2026-11-21", "2026-11-21"],
    ["echo_time", "value", "13:45:00.000001", "13:45:00.000001"],
    ["echo_duration", "value", "90.5s", "90.5s"],
    ["echo_timestamp_utc", "value", "2026-11-21T13:45:00.000001Z", "2026-11-21T13:45:00.000001Z"],
    ["echo_decimal", "value", "1234567890123456.7891", "1234567890123456.7891"],
    ["echo_dict_encoded_string", "value", "again", "again"],
    ["echo_list", "values", '["a","b"]', ["a", "b"]],
    ["echo_dict", "mapping", '{"a":1}', { a: 1 }],
    ["echo_nested_list", "matrix", "[[1,2],[]]", [[1, 2], []]],
    ["echo_point", "point", '{"x":1.5,"y":-2}', { x: 1.5, y: -2 }],
    ["echo_optional_int", "value", "7", 7],
  ]) {
    const f = await form(page, method);
    await input(f, name).fill(typed);
    assert.deepEqual(await result(f), want, method);
    await card(page, method).locator("details.tryit summary").click();
  }
});

await step("booleans, enums, nulls, defaults and nothing", { origins: [prefixed] }, async (page) => {
  await page.goto(prefixed + "/vgi/describe");
  const bool = await form(page, "echo_bool");
  assert.equal(await result(bool), false);
  await input(bool, "value").check();
  assert.equal(await result(bool), true);
  const status = await form(page, "echo_enum");
  await input(status, "status").selectOption("CLOSED");
  assert.equal(await result(status), "CLOSED");
  assert.equal(await result(await form(page, "echo_optional_string")), null);
  assert.equal(await result(await form(page, "void_noop")), null);
  const defaults = await form(page, "with_defaults");
  await input(defaults, "required").fill("1");
  assert.match(await result(defaults), /default.*42/);
  await input(defaults, "optional_int").fill("7");
  assert.match(await result(defaults), /default.*7/);
});

await step("a call shows its logs", { origins: [prefixed] }, async (page) => {
  await page.goto(prefixed + "/vgi/describe");
  const f = await form(page, "echo_with_multi_logs");
  await input(f, "value").fill(markup);
  const text = await submit(f);
  for (const level of ["DEBUG debug: ", "INFO info: ", "WARN warn: "]) assert.ok(text.includes(level + markup), text);
  await f.scrollIntoViewIfNeeded();
  await shot(page, "handler-call");
});

// inert checks that markup stayed text.
async function inert(page, where) {
  assert.equal(await where.locator("img").count(), 0);
  assert.notEqual(await page.title(), "owned");
}

await step("markup is shown as text, in a result and in an error", { origins: [prefixed] }, async (page) => {
  await page.goto(prefixed + "/vgi/describe");
  const echo = await form(page, "echo_string");
  await input(echo, "value").fill(markup);
  assert.equal(await result(echo), markup);
  await inert(page, echo);
  const raise = await form(page, "raise_value_error");
  await input(raise, "message").fill(markup);
  const text = await submit(raise);
  assert.match(text, /^Failed /);
  assert.ok(text.includes("ValueError"), text);
  assert.ok(text.includes(markup), text);
  await inert(page, raise);
  await raise.scrollIntoViewIfNeeded();
  await shot(page, "handler-error");
});

await step("what is no value is refused before or after it is sent", { origins: [prefixed] }, async (page) => {
  await page.goto(prefixed + "/vgi/describe");
  for (const [method, name, typed, want] of [
    ["echo_int32", "value", "many", /^value: want a whole number$/],
    ["echo_int32", "value", "", /^value: want a whole number$/],
    ["echo_int8", "value", "300", /^Failed with status 400[^]*value/],
    ["echo_date", "value", "tomorrow", /^Failed with status 400[^]*value/],
    ["echo_list", "values", "[1", /^values: not JSON/],
    ["echo_list", "values", "[1]", /^Failed with status 400[^]*values/],
    ["echo_list", "values", `["${"x".repeat(1 << 20)}"]`, /^Failed with status 413/],
  ]) {
    const f = await form(page, method);
    await input(f, name).fill(typed);
    assert.match(await submit(f), want, method);
    await card(page, method).locator("details.tryit summary").click();
  }
});

await step("a call that needs a bearer takes the one that was typed", { origins: [readable] }, async (page, { context }) => {
  await page.goto(readable + "/vgi/describe");
  const f = await form(page, "echo_float");
  await input(f, "value").fill("1");
  const secret = page.getByLabel("Authorization header");
  assert.equal(await secret.getAttribute("type"), "password");
  assert.match(await submit(f), /^Failed with status 401[^]*missing_credential/);
  await secret.fill("Bearer wrong");
  assert.match(await submit(f), /^Failed with status 401[^]*invalid_credential/);
  await secret.fill("Bearer " + token);
  assert.equal(await result(f), 1);
  const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, location.href]);
  assert.deepEqual(kept, [0, 0, readable + "/vgi/describe"]);
  assert.deepEqual(await context.cookies(), []);
  await page.reload();
  assert.equal(await secret.inputValue(), "");
});

// Calls from pages of other origins.

// send is a fetch by the page's own script. The body is in base64, both ways.
const send = (page, url, { method = "POST", body, text, headers = {} } = {}) => page.evaluate(async ([url, method, body, text, headers]) => {
  const bytes = body && Uint8Array.from(atob(body), (c) => c.charCodeAt(0));
  let r;
  try {
    r = await fetch(url, { method, headers, body: bytes || text });
  } catch (e) {
    return { refused: e.message };
  }
  // Names and texts in Arrow can be read as they are.
  return { status: r.status, headers: Object.fromEntries(r.headers), answer: await r.text() };
}, [url, method, body, text, headers]);

const calls = `${prefixed}/vgi/${protocol}/`;
const bearer = { Authorization: "Bearer " + token };
const type = { "Content-Type": arrow };
const subset = (headers, names) => Object.fromEntries(names.filter((n) => n in headers).map((n) => [n, headers[n]]));

await step("a page of an allowed origin calls, and reads the answer's header", { origins: [friend, prefixed] }, async (page) => {
  await page.goto(friend);
  const got = await send(page, calls + "echo_string", {
    body: requests.echo_string,
    headers: { ...type, ...bearer, "X-Request-ID": "from-a-page", "VGI-Session-Accept": "true", "VGI-Accept-Max-Response-Bytes": "100000" },
  });
  assert.equal(got.status, 200, JSON.stringify(got));
  assert.ok(got.answer.includes("across the border"), got.answer);
  const want = {
    "content-type": arrow, "x-request-id": "from-a-page", "vgi-accept-max-response-bytes-support": "true",
    "vgi-max-request-bytes": "1048576", "vgi-max-response-bytes": "1048576", "vgi-sticky-enabled": "true",
    "vgi-sticky-echo-headers": "X-Machine", "vgi-sticky-default-ttl": "300", "vgi-externalization-enabled": "false",
  };
  assert.deepEqual(subset(got.headers, Object.keys(want)), want);
  assert.match(got.headers["vgi-supported-encodings"], /gzip/);
  assert.equal(got.headers["x-vgi-rpc-error"], undefined);
});

await step("the browser undoes the coding that a page has asked for", { origins: [friend, prefixed] }, async (page) => {
  await page.goto(friend);
  const url = calls + "echo_string";
  const [response, got] = await Promise.all([
    page.waitForResponse((r) => r.url() === url && r.request().method() === "POST"),
    send(page, url, { body: requests.echo_string, headers: { ...type, "X-VGI-Accept-Encoding": "gzip" } }),
  ]);
  assert.equal(got.status, 200, JSON.stringify(got));
  assert.equal(await response.headerValue("content-encoding"), "gzip");
  assert.ok(got.answer.includes("across the border"), got.answer);
});

await step("a page of an allowed origin reads of errors", { origins: [friend, prefixed] }, async (page) => {
  await page.goto(friend);
  const raised = await send(page, calls + "raise_value_error", { body: requests.raise_value_error, headers: type });
  assert.equal(raised.status, 200, JSON.stringify(raised));
  assert.equal(raised.headers["x-vgi-rpc-error"], "true");
  assert.ok(raised.headers["x-request-id"]);
  assert.ok(raised.answer.includes("on request"), raised.answer);
  for (const [method, headers, status] of [["nothing", type, 404], ["echo_string", { "Content-Type": "application/json" }, 415],
    ["echo_string", { ...type, "VGI-Accept-Max-Response-Bytes": "1" }, 400]]) {
    const got = await send(page, calls + method, { body: requests.echo_string, headers });
    assert.equal(got.status, status, JSON.stringify(got));
    assert.equal(got.headers["content-type"], arrow);
    assert.ok(got.headers["x-request-id"]);
  }
});

await step("a page of an allowed origin keeps a session", { origins: [friend, prefixed] }, async (page) => {
  await page.goto(friend);
  const opened = await send(page, calls + "open_counter", { body: requests.open_counter, headers: { ...type, "VGI-Session-Accept": "true" } });
  const session = opened.headers?.["vgi-session"];
  assert.ok(session, JSON.stringify(opened));
  assert.equal(opened.headers["vgi-echo-x-machine"], "m1");
  const headers = { ...type, "VGI-Session": session, "X-Machine": "m1" };
  const went = await send(page, calls + "increment_counter", { body: requests.increment_counter, headers });
  assert.equal(went.status, 200);
  assert.equal(went.headers["x-vgi-rpc-error"], undefined, went.answer);
  const ended = await send(page, prefixed + "/vgi/__session__", { method: "DELETE", headers: { "VGI-Session": session } });
  assert.equal(ended.status, 204);
  assert.equal(ended.headers["vgi-session-close"], "true");
  const late = await send(page, calls + "increment_counter", { body: requests.increment_counter, headers });
  assert.equal(late.headers["x-vgi-rpc-error"], "true");
});

await step("a page of an allowed origin reads why it is not let in", { origins: [friend, locked] }, async (page) => {
  await page.goto(friend);
  const url = `${locked}/vgi/${protocol}/echo_string`;
  for (const [headers, reason] of [[{}, "missing_credential"], [{ Authorization: "Bearer wrong" }, "invalid_credential"]]) {
    const got = await send(page, url, { body: requests.echo_string, headers: { ...type, ...headers } });
    assert.equal(got.status, 401, JSON.stringify(got));
    assert.equal(got.headers["www-authenticate"], "Bearer");
    assert.equal(got.headers["vgi-auth-reason"], reason);
    assert.ok(got.headers["x-request-id"]);
    assert.equal(JSON.parse(got.answer).reason, reason);
  }
  const entered = await send(page, url, { body: requests.echo_string, headers: { ...type, ...bearer } });
  assert.equal(entered.status, 200, JSON.stringify(entered));
});

await step("a page of an allowed origin asks what the server can do", { origins: [friend, locked] }, async (page) => {
  await page.goto(friend);
  for (const method of ["GET", "HEAD", "OPTIONS"]) {
    const got = await send(page, locked + "/vgi/health", { method });
    assert.equal(got.status, 200, JSON.stringify(got));
    assert.equal(got.headers["vgi-accept-max-response-bytes-support"], "true", method);
  }
});

await step("many calls, one preflight", { origins: [friend, prefixed] }, async (page) => {
  await page.goto(friend);
  for (let i = 0; i < 3; i++) {
    const got = await send(page, calls + "echo_bool", { body: requests.echo_bool, headers: { ...type, "VGI-Session-Accept": "true" } });
    assert.equal(got.status, 200, JSON.stringify(got));
  }
});

// blocked are complaints that say what a page of a stranger must run into.
const blocked = (complaints) => complaints.filter((c) => c.includes("blocked by CORS policy")).length;

await step("a page of another origin is refused by the browser", { origins: [stranger, prefixed], expectComplaints: true }, async (page, { complaints }) => {
  await page.goto(stranger);
  // With a preflight, which fails; and without, where the answer stays unread.
  assert.deepEqual(await send(page, calls + "echo_bytes", { body: requests.echo_string, headers: type }), { refused: "Failed to fetch" });
  assert.deepEqual(await send(page, calls + "echo_string", { text: "x" }), { refused: "Failed to fetch" });
  assert.deepEqual(await send(page, prefixed + "/vgi/health", { method: "GET" }), { refused: "Failed to fetch" });
  assert.equal(blocked(complaints), 3, complaints.join("; "));
});

await step("no page of another origin calls with JSON", { origins: [stranger, friend, prefixed, bare], expectComplaints: true }, async (page, { complaints }) => {
  const call = "add_floats?format=json";
  const json = { text: '{"a":1,"b":2}', headers: { "Content-Type": "application/json" } };
  await page.goto(stranger);
  assert.deepEqual(await send(page, calls + call, json), { refused: "Failed to fetch" });
  assert.deepEqual(await send(page, `${bare}/${protocol}/${call}`, json), { refused: "Failed to fetch" });
  assert.equal(blocked(complaints), 2, complaints.join("; "));
  // CORS lets an origin call with Arrow; the gateway is for the pages here.
  await page.goto(friend);
  const got = await send(page, calls + call, json);
  assert.equal(got.status, 403, JSON.stringify(got));
  assert.match(JSON.parse(got.answer).error.message, /other origins/);
});

for (const [who, origin] of [["a stranger", stranger], ["an allowed origin", friend]]) {
  await step("a form of " + who + " does not call with JSON", { origins: [origin, prefixed] }, async (page) => {
    const action = calls + "add_floats?format=json";
    await page.goto(origin + "/?to=" + encodeURIComponent(action));
    const [response] = await Promise.all([page.waitForResponse(action), page.getByRole("button").click()]);
    assert.equal(response.request().headers()["content-type"], "text/plain");
    assert.equal(response.status(), 403);
    await page.waitForURL(action);
    assert.match(await page.locator("body").innerText(), /other origins/);
  });
}

await step("a page of the server's own calls with nothing but JSON", { origins: [prefixed] }, async (page) => {
  await page.goto(prefixed + "/vgi");
  for (const [headers, status] of [[{}, 415], [{ "Content-Type": "application/json; charset=utf-8" }, 415], [{ "Content-Type": "application/json" }, 200]]) {
    const got = await send(page, calls + "add_floats?format=json", { text: '{"a":1,"b":2}', headers });
    assert.equal(got.status, status, JSON.stringify(got));
  }
});

await browser.close();
