// What scripts share that drive Chromium through the pages of a server. A script
// is run as
//
//   node script.mjs '{"chromium":…,"playwright":…,"screenshots":…,"sandbox":…, …}'
//
// Each step is one line of JSON on stdout: {"name":…} and, if it failed,
// "failure".

import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { strict as assert } from "node:assert";

export const config = JSON.parse(process.argv[2]);
const { chromium } = createRequire(import.meta.url)(config.playwright);
mkdirSync(config.screenshots, { recursive: true });

export const browser = await chromium.launch({
  executablePath: config.chromium,
  args: [...(config.sandbox ? [] : ["--no-sandbox"]), "--disable-gpu", "--disable-dev-shm-usage"],
});

// open makes a page that notes everything a page of ours must never do. It may
// send requests to options.origins alone, which is config.url when there are none.
async function open({ origins = [config.url], ...options }) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 850 }, ...options });
  const complaints = [];
  await context.addInitScript(() => addEventListener("securitypolicyviolation",
    (e) => console.error("violated " + e.effectiveDirective + " by " + e.blockedURI)));
  const page = await context.newPage();
  page.setDefaultTimeout(60000);
  page.on("console", (m) => {
    // The browser itself reports the status of every refusal; those that the
    // test did not ask for are noted below.
    if (["error", "warning"].includes(m.type()) && !/status of 4[0-9][0-9]/.test(m.text())) complaints.push("console: " + m.text());
  });
  page.on("pageerror", (e) => complaints.push("exception: " + e.message));
  page.on("requestfailed", (r) => {
    const why = r.failure().errorText;
    // Who leaves a page ends what it still waits for.
    if (why !== "net::ERR_ABORTED") complaints.push(`failed: ${r.method()} ${r.url()}: ${why}`);
  });
  page.on("request", (r) => {
    if (!origins.includes(new URL(r.url()).origin)) complaints.push("request to another origin: " + r.url());
  });
  page.on("response", (r) => {
    const asked = r.request().isNavigationRequest() || r.request().resourceType() === "fetch";
    if (!asked && r.status() >= 400) complaints.push("status " + r.status() + " of " + r.url());
  });
  return { page, context, complaints };
}

// step tries one thing in a browser of its own. With options.expectComplaints
// the body looks at the complaints itself.
export async function step(name, { expectComplaints, ...options }, body) {
  const run = await open(options);
  let failure;
  try {
    await body(run.page, run);
    if (!expectComplaints) assert.deepEqual(run.complaints, []);
  } catch (e) {
    failure = e.message;
    await shot(run.page, "failure").catch(() => {});
  }
  await run.context.close();
  console.log(JSON.stringify({ name, failure }));
}

// shot takes a screenshot. A browser that the machine keeps waiting for its own
// frame says that it cannot, and may be asked again.
export async function shot(page, name) {
  for (let tries = 1; ; tries++) {
    try {
      return await page.screenshot({ path: join(config.screenshots, name + ".png") });
    } catch (e) {
      if (tries === 10 || !e.message.includes("Unable to capture screenshot")) throw e;
    }
  }
}

export async function fits(page, what) {
  const [content, viewport] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(content <= viewport, `${what} is ${content} px wide in a viewport of ${viewport} px`);
}

export const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number));
