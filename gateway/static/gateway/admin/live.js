// Renews the live picture on the admin's front page. Without it the page is a picture of when it was loaded.

const SECONDS = 2;

const section = /** @type {HTMLElement} */ (document.getElementById("live"));
const picture = /** @type {HTMLElement} */ (document.getElementById("live-picture"));
const state = /** @type {HTMLElement} */ (document.getElementById("live-state"));

/** Says something once, for who does not see the picture too. @param {string} text */
function say(text) {
  if (state.textContent !== text) state.textContent = text;
}

async function renew() {
  if (document.hidden || picture.contains(document.activeElement)) return; // nobody looks, or somebody is in it
  const response = await fetch(section.dataset.source ?? "", { signal: AbortSignal.timeout(SECONDS * 2_000) });
  if (response.redirected || !response.ok) throw new Error(`${response.status}`); // logged out, or the gateway ends
  const made = new DOMParser().parseFromString(await response.text(), "text/html");
  const wide = picture.querySelector(".live-wide");
  const left = wide?.scrollLeft ?? 0;
  picture.replaceChildren(...made.body.childNodes);
  picture.querySelector(".live-wide")?.scrollTo({ left });
  say("");
}

async function run() {
  try {
    await renew();
  } catch {
    say("There is no answer. These figures are old.");
  }
  setTimeout(run, SECONDS * 1_000);
}

setTimeout(run, SECONDS * 1_000);
document.addEventListener("visibilitychange", () => renew().catch(() => undefined));
