// Signs in at "service", below /vgi, by way of the authorization server "issuer",
// which signs everybody in who comes by without asking. "fresh" is a service like
// it that nobody has visited yet. Pages of the origin "friend" get tokens.
// "control" does what an operator of the authorization server does.

import { strict as assert } from "node:assert";
import { browser, config, shot, step } from "./harness.mjs";

const { service, fresh, friend, issuer, control } = config;
const origins = [service, issuer];
const operate = async (what) => assert.equal((await fetch(control + "/" + what)).status, 200);

const info = (page) => page.locator("#vgi-user-info");
const cookies = async (context, url) => Object.fromEntries((await context.cookies(url)).map((c) => [c.name, c]));

// arrive opens a page of the service and ends there, signed in as a person.
async function arrive(page, url, person) {
  const response = await page.goto(url);
  assert.equal(response.status(), 200, url);
  assert.equal(page.url(), url);
  assert.equal(await info(page).innerText(), `Signed in as ${person}@example.test · Sign out`);
}

await step("who visits a page signs in, and sees it", { origins }, async (page, { context }) => {
  await arrive(page, service + "/vgi/describe?x=1", "alice");
  await shot(page, "oauth-signed-in");
  const kept = await cookies(context, service + "/vgi/_oauth/callback");
  assert.deepEqual(Object.keys(kept).sort(), ["_vgi_auth", "_vgi_identity"]);
  for (const [name, c] of Object.entries(kept)) {
    assert.equal(c.path, "/vgi", name);
    assert.equal(c.sameSite, "Lax", name);
    assert.equal(c.httpOnly, false, name);
  }
  assert.equal(kept._vgi_auth.value.split(".").length, 3);
  await page.getByRole("link", { name: "vgi-rpc logo: service page" }).click();
  await page.waitForURL(service + "/vgi");
  assert.match(await info(page).innerText(), /alice@example.test/);
});

await step("the form calls with the token, and a cookie alone calls nothing", { origins, expectComplaints: true }, async (page) => {
  await arrive(page, service + "/vgi/describe", "alice");
  const details = page.locator('[id="ConformanceService/echo_string"] details.tryit');
  await details.locator("summary").click();
  await details.locator('.field[data-name="value"] input').first().fill("hello");
  await details.locator("[type=submit]").click();
  await details.locator("[data-answer] .status").waitFor();
  assert.match(await details.locator("[data-answer]").innerText(), /Succeeded in [^]*"hello"/);
  const [status, challenge] = await page.evaluate(async () => {
    const answer = await fetch("/vgi/ConformanceService/echo_string?format=json", {
      method: "POST", credentials: "include", headers: { "Content-Type": "application/json" }, body: '{"value":"x"}',
    });
    return [answer.status, answer.headers.get("WWW-Authenticate")];
  });
  assert.equal(status, 401);
  assert.match(challenge, /^Bearer resource_metadata="http:\/\/localhost:[0-9]+\/.well-known\/oauth-protected-resource\/vgi", client_id="web"$/);
});

await step("who signs out is asked again, and may be somebody else", { origins }, async (page, { context }) => {
  await arrive(page, service + "/vgi", "alice");
  await operate("account/bob");
  await page.reload();
  assert.match(await info(page).innerText(), /alice@example.test/);
  const asked = [];
  page.on("request", (r) => { if (r.url().startsWith(issuer + "/auth?")) asked.push(new URL(r.url()).searchParams.get("prompt")); });
  await page.getByRole("link", { name: "Sign out" }).click();
  await page.waitForURL(service + "/vgi");
  await info(page).filter({ hasText: "bob@example.test" }).waitFor();
  assert.deepEqual(asked, ["login"]);
  // Whoever loses the cookie, having signed in since, is not asked.
  await context.clearCookies({ name: "_vgi_auth" });
  await page.reload();
  await info(page).filter({ hasText: "bob@example.test" }).waitFor();
  assert.deepEqual(asked, ["login", null]);
  await operate("account/alice");
});

await step("a link on another site signs nobody out", { origins: [...origins, friend], expectComplaints: true }, async (page, { context }) => {
  await arrive(page, service + "/vgi", "alice");
  await page.goto(friend.replace("localhost", "127.0.0.1"));
  await page.evaluate((to) => { location.href = to; }, service + "/vgi/_oauth/logout");
  await page.getByRole("heading", { name: "Sign out" }).waitFor();
  await shot(page, "oauth-sign-out");
  assert.ok((await cookies(context, service + "/vgi"))._vgi_auth);
  await page.getByRole("link", { name: "Sign out" }).click();
  await page.waitForURL(service + "/vgi");
});

await step("a rotation of keys goes unnoticed", { origins }, async (page) => {
  await arrive(page, service + "/vgi", "alice");
  await operate("rotate");
  const other = await (await browser.newContext()).newPage();
  await arrive(other, service + "/vgi/describe", "alice");
  await other.context().close();
  // With the new keys the old ones are gone, and with them the first token.
  let asked = 0;
  page.on("request", (r) => { if (r.url().startsWith(issuer + "/auth?")) asked++; });
  await arrive(page, service + "/vgi", "alice");
  assert.equal(asked, 1);
});

await step("an outage is said, and passes", { origins: [fresh, issuer], expectComplaints: true }, async (page) => {
  await operate("outage");
  const response = await page.goto(fresh + "/vgi/describe");
  assert.equal(response.status(), 503);
  assert.ok(Number(response.headers()["retry-after"]) > 0);
  assert.match(await page.locator("body").innerText(), /authorization server cannot be reached/);
  await shot(page, "oauth-outage");
  await operate("recover");
  for (const end = Date.now() + 10000; Date.now() < end && await page.getByRole("link", { name: "Try again" }).count() > 0;) {
    await page.getByRole("link", { name: "Try again" }).click();
    await page.waitForLoadState();
  }
  assert.equal(page.url(), fresh + "/vgi/describe");
  assert.equal(await info(page).innerText(), "Signed in as alice@example.test · Sign out");
});

await step("who refuses is told so, and may change his mind", { origins, expectComplaints: true }, async (page, { context }) => {
  await operate("deny");
  await page.goto(service + "/vgi/describe");
  assert.match(page.url(), /\/vgi\/_oauth\/callback\?/);
  assert.match(await page.locator("body").innerText(), /The authorization server returned an error\.[^]*access_denied/);
  assert.deepEqual(Object.keys(await cookies(context, service + "/vgi/_oauth/callback")), []);
  await shot(page, "oauth-denied");
  await operate("account/alice");
  await page.getByRole("link", { name: "Try again" }).click();
  await page.waitForURL(service + "/vgi/describe");
  assert.match(await info(page).innerText(), /alice@example.test/);
});

await step("an answer is good for one time and one browser", { origins, expectComplaints: true }, async (page) => {
  let callback;
  page.on("request", (r) => { if (r.url().includes("/_oauth/callback?")) callback = r.url(); });
  await arrive(page, service + "/vgi", "alice");
  for (const visitor of [page, await (await browser.newContext()).newPage()]) {
    assert.equal((await visitor.goto(callback)).status(), 400);
    assert.match(await visitor.locator("body").innerText(), /Session cookie missing/);
  }
});

await step("a page of an allowed origin gets a token, and renews it by the proxy", { origins: [...origins, friend] }, async (page, { context }) => {
  const back = friend + "/?service=x";
  await page.goto(service + "/vgi?_vgi_return_to=" + encodeURIComponent(back));
  const [at, fragment] = page.url().split("#");
  assert.equal(at, back);
  const got = Object.fromEntries(new URLSearchParams(fragment));
  assert.equal(got.client_id, "web");
  assert.equal(got.client_secret, undefined);
  assert.equal(got.token_endpoint, service + "/vgi/_oauth/token");
  assert.ok(got.refresh_token);
  assert.deepEqual(Object.keys(await cookies(context, service + "/vgi")), []);
  const [status, answer] = await page.evaluate(async ({ token_endpoint, refresh_token }) => {
    const form = new URLSearchParams({ grant_type: "refresh_token", refresh_token });
    const r = await fetch(token_endpoint, { method: "POST", body: form });
    return [r.status, await r.json()];
  }, got);
  assert.equal(status, 200, JSON.stringify(answer));
  assert.notEqual(answer.access_token, got.token);
  assert.equal(answer.token_type, "Bearer");
});

await browser.close();
