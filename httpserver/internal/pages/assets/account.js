"use strict";

// Who is signed in, as the cookies of a sign-in say it. They are shown as text
// and decide nothing.

function cookie(name) {
  const found = document.cookie.split("; ").filter((c) => c.startsWith(name + "="));
  return found.length === 1 ? found[0].slice(name.length + 1) : "";
}

function signedIn() {
  const text = cookie("_vgi_identity").replace(/-/g, "+").replace(/_/g, "/");
  if (!text) return {};
  try {
    const who = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(text), (c) => c.charCodeAt(0))));
    return who && typeof who === "object" ? who : {};
  } catch {
    return {};
  }
}

addEventListener("DOMContentLoaded", () => {
  const info = document.getElementById("vgi-user-info");
  const who = signedIn();
  const name = [who.email, who.preferred_username, who.name, who.sub].find((v) => typeof v === "string" && v !== "");
  const token = cookie("_vgi_auth");
  if (!info || (!name && !token)) return;
  if (name) document.getElementById("vgi-user-name").textContent = " as " + name;
  info.hidden = false;
  // The form calls with the token in a header: a cookie is no credential of a
  // call.
  const authorization = document.getElementById("authorization");
  if (authorization && token && !authorization.value) authorization.value = "Bearer " + token;
});
