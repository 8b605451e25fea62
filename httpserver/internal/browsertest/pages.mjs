// The pages of a server, clicked through by themselves: what package pages makes,
// at config.url.

import { strict as assert } from "node:assert";
import { background, browser, config, fits, shot, step } from "./harness.mjs";

const base = config.url + "/vgi";
const protocol = "acme.Weather.v1";

const card = (page, method) => page.locator(`[id="${protocol}/${method}"]`);

// form opens the form of a method.
async function form(page, method) {
  await page.goto(base + "/describe");
  const details = card(page, method).locator("details.tryit");
  await details.locator("summary").click();
  return details.locator("form");
}

const field = (form, name) => form.locator(`.field[data-name="${name}"]`);

async function submit(form) {
  await form.locator("[type=submit]").click();
  await form.locator("[data-answer] .status").waitFor();
  return (await form.locator("[data-answer]").innerText()).trim();
}

await step("the landing page leads to the description", { colorScheme: "light" }, async (page) => {
  await page.goto(base);
  assert.equal(await page.locator("h1").innerText(), protocol);
  await shot(page, "landing-light");
  await page.getByRole("link", { name: "View service API" }).click();
  await page.waitForURL(base + "/describe");
  await page.locator("#filter").waitFor();
  assert.deepEqual(await card(page, "readings").locator(".badge").allInnerTexts(), ["stream", "producer", "header"]);
  await shot(page, "describe-light");
  const [red] = await background(page);
  assert.ok(red > 200, "the background is not light");
});

await step("dark readers get a dark page", { colorScheme: "dark" }, async (page) => {
  for (const [path, name] of [["", "landing-dark"], ["/describe", "describe-dark"], ["/private", "unauthorized-dark"], ["/nowhere", "notfound-dark"]]) {
    await page.goto(base + path);
    const [red] = await background(page);
    assert.ok(red < 60, path + ": the background is not dark");
    await shot(page, name);
  }
});

for (const colorScheme of ["light", "dark"]) {
  await step(`text stands out from what is behind it, ${colorScheme}`, { colorScheme }, async (page) => {
    await page.goto(base + "/describe");
    const weak = await page.evaluate(() => {
      const rgb = (css) => css.match(/[0-9.]+/g).map(Number);
      const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const behind = (e) => {
        for (; e; e = e.parentElement) {
          const color = rgb(getComputedStyle(e).backgroundColor);
          if (color.length === 3 || color[3] > 0) return color;
        }
        return [255, 255, 255];
      };
      const out = [];
      for (const e of document.querySelectorAll("h1,h2,h3,h4,p,td,th,code,.badge,.mark,.muted,a,label,summary,dt,dd")) {
        if (!e.innerText?.trim()) continue;
        const [a, b] = [luminance(rgb(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
        const contrast = (a + 0.05) / (b + 0.05);
        if (contrast < 4.5) out.push(`${e.className || e.tagName} "${e.innerText.slice(0, 20)}" ${contrast.toFixed(2)}`);
      }
      return out;
    });
    assert.deepEqual(weak, []);
  });
}

await step("nothing scrolls sideways on a phone", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme: "light" }, async (page) => {
  for (const [path, name] of [["", "landing-phone"], ["/private", "unauthorized-phone"], ["/nowhere", "notfound-phone"], ["/describe", "describe-phone"]]) {
    await page.goto(base + path);
    await fits(page, path || "the landing page");
    await shot(page, name);
  }
  await page.evaluate(() => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  await fits(page, "the description, unfolded,");
  await card(page, "greet").evaluate((e) => e.scrollIntoView({ behavior: "instant" }));
  await shot(page, "form-phone");
});

await step("the framework's protocols are folded up, and a link unfolds them", {}, async (page) => {
  await page.goto(base + "/describe");
  const reflection = page.locator('details[id="vgi_rpc.Reflection.v1"]');
  assert.equal(await reflection.evaluate((e) => e.open), false);
  await page.goto(base + "/describe#vgi_rpc.Reflection.v1/describe");
  await page.waitForFunction((id) => document.getElementById(id).open, "vgi_rpc.Reflection.v1");
  assert.equal(await page.locator("section.protocol, details.protocol").last().getAttribute("id"), "vgi_rpc.Reflection.v1");
});

await step("the filter finds methods by name and text", {}, async (page) => {
  await page.goto(base + "/describe");
  await page.getByLabel("Find a method").fill("streams readings");
  assert.equal(await page.locator("#found").innerText(), "1 method");
  assert.ok(await card(page, "readings").isVisible());
  assert.ok(!(await card(page, "add").isVisible()));
  await page.getByLabel("Find a method").fill("");
  assert.ok(await card(page, "add").isVisible());
});

await step("a call shows its result and its time", {}, async (page) => {
  const f = await form(page, "add");
  await f.getByLabel("a float64", { exact: true }).fill("1.5");
  await f.getByLabel("b float64", { exact: true }).fill("2");
  assert.match(await submit(f), /^Succeeded in [0-9.]+ ms\s+3\.5$/);
  await shot(page, "call-light");
});

await step("defaults, nulls and enums go out as they were chosen", {}, async (page) => {
  const f = await form(page, "greet");
  assert.match(await submit(f), /"Hello World \(LIGHT, nobody in particular, loud false\)"\s+Logs\s+INFO greeting World/);
  await field(f, "name").locator("input[type=text]").fill("Ann");
  assert.equal(await field(f, "name").locator("[data-leave-out]").isChecked(), false, "typing means to send");
  await field(f, "title").locator("input[type=text]").fill("Dr");
  await field(f, "shade").locator("select").selectOption("DARK");
  await field(f, "loud").locator("input").first().check();
  assert.match(await submit(f), /"Hello Ann \(DARK, Dr, loud true\)"/);
});

await step("every kind of value arrives exactly", { colorScheme: "dark" }, async (page) => {
  const f = await form(page, "echo_kinds");
  const values = {
    count: "9007199254740993", price: "1234567890123456.7891", data: "AAEC/w==", at: "2026-11-21T13:45:00.000001Z", wait: "1m30.5s",
    matrix: "[[1,2],[9007199254740993]]", totals: '{"a":1}', place: '{"lat":52.5,"lon":13.4}',
  };
  for (const [name, value] of Object.entries(values)) await field(f, name).locator("input, textarea").first().fill(value);
  const text = await submit(f);
  for (const want of ['"count": "9007199254740993"', '"price": "1234567890123456.7891"', '"bytes": 4', '"at": "2026-11-21T13:45:00.000001Z"',
    '"wait": "90.5s"', '"9007199254740993"', '"a": 1', '"lat": 52.5', '"note": null']) {
    assert.ok(text.includes(want), `no ${want} in ${text}`);
  }
  await f.scrollIntoViewIfNeeded();
  await shot(page, "kinds-dark");
});

await step("a failed call shows the error as text", {}, async (page) => {
  const f = await form(page, "fail");
  await field(f, "text").locator("input").fill(config.markup);
  const text = await submit(f);
  assert.ok(text.includes("FAILED_PRECONDITION · on_request"), text);
  assert.ok(text.includes(config.markup), text);
  assert.equal(await f.locator("img").count(), 0);
  await page.goto(base + "/private");
  assert.ok((await page.locator("main").innerText()).includes(config.markup));
  assert.equal(await page.locator("main img:not(.logo)").count(), 0);
  assert.equal(await page.title(), "401 Unauthorized");
});

await step("what cannot be sent is said before it is sent", {}, async (page) => {
  const f = await form(page, "echo_kinds");
  await field(f, "count").locator("input").fill("many");
  assert.equal(await submit(f), "count: want a whole number");
  await field(f, "count").locator("input").fill("1");
  await field(f, "matrix").locator("textarea").fill("[[1,");
  assert.match(await submit(f), /^matrix: not JSON/);
  await field(f, "matrix").locator("textarea").fill('[["x"]]');
  assert.match(await submit(f), /Failed with status 400[^]*parameter /);
});

await step("the command can be copied, without the secret", { permissions: ["clipboard-read", "clipboard-write"] }, async (page) => {
  const f = await form(page, "greet");
  await page.locator("#authorization").fill("Bearer secret");
  await field(f, "name").locator("input[type=text]").fill("O'Neil");
  await f.locator("[data-copy]").click();
  await f.getByText("Copied.").waitFor();
  const command = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(command, "curl -sS -H 'Content-Type: application/json' -H \"Authorization: $AUTHORIZATION\" " +
    `--data-raw '{"name":"O'\\''Neil","shade":"LIGHT","title":null}' '${base}/${protocol}/greet?format=json'`);
  const [request] = await Promise.all([page.waitForRequest((r) => r.method() === "POST"), submit(f)]);
  const headers = await request.allHeaders();
  assert.equal(headers.authorization, "Bearer secret");
  assert.equal(headers["content-type"], "application/json");
  assert.equal(headers.cookie, undefined);
});

await step("cookies stay at home", {}, async (page, { context }) => {
  await context.addCookies([{ name: "session", value: "1", url: config.url }]);
  const f = await form(page, "add");
  for (const name of ["a", "b"]) await field(f, name).locator("input").fill("1");
  const [request] = await Promise.all([page.waitForRequest((r) => r.method() === "POST"), submit(f)]);
  assert.equal((await request.allHeaders()).cookie, undefined);
});

await step("the keyboard reaches everything", {}, async (page) => {
  await page.goto(base + "/describe");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the protocols");
  const unlabelled = await page.evaluate(() => [...document.querySelectorAll("input, select, textarea")]
    .filter((e) => e.labels.length === 0).map((e) => e.outerHTML));
  assert.deepEqual(unlabelled, []);
  const ids = await page.evaluate(() => [...document.querySelectorAll("[id]")].map((e) => e.id));
  assert.equal(new Set(ids).size, ids.length, "an id stands on the page twice");
  await card(page, "add").locator("summary").focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.type("4");
  await page.keyboard.press("Tab");
  await page.keyboard.type("5");
  await page.keyboard.press("Enter");
  await card(page, "add").getByText(/^Succeeded/).waitFor();
});

await step("the pages can be read without JavaScript", { javaScriptEnabled: false }, async (page) => {
  await page.goto(base + "/describe");
  assert.ok(await card(page, "add").isVisible());
  assert.ok(!(await page.locator("#filter").isVisible()));
  await card(page, "add").locator("summary").click();
  assert.ok(await card(page, "add").getByText("The form needs JavaScript.").isVisible());
  assert.ok(await card(page, "add").locator("[type=submit]").isDisabled());
});

await step("the policy stops what would get in", { expectComplaints: true }, async (page, { complaints }) => {
  await page.goto(base + "/describe");
  const result = await page.evaluate(async () => {
    const script = document.createElement("script");
    script.textContent = "globalThis.inlineRan = true";
    document.body.append(script);
    const style = document.createElement("div");
    style.setAttribute("style", "position: fixed");
    document.body.append(style);
    const elsewhere = await fetch("http://127.0.0.1:1/").then(() => "sent", () => "stopped");
    return { inline: globalThis.inlineRan === true, style: getComputedStyle(style).position, elsewhere };
  });
  assert.deepEqual(result, { inline: false, style: "static", elsewhere: "stopped" });
  for (const directive of ["script-src 'self'", "style-src 'self'", "connect-src 'self'"]) {
    assert.ok(complaints.some((c) => c.includes("Content Security Policy") && c.includes(directive)), complaints.join("; "));
  }
});

await browser.close();

