// The home page's own: what is near (a commune chosen, or the position when it is asked for), what is followed,
// and putting the market on the home screen. The parts themselves come from the server through htmx.

import { toast } from "./page.js";

const find = (id) => document.getElementById(id);
const form = find("near-form");
const commune = find("near-commune");
const shown = find("near-shown");

function kept(name) {
  try {
    return localStorage.getItem(name) || "";
  } catch {
    return "";
  }
}

// ---- near

/** What came back says which commune it is about: that is remembered, never the position. */
new MutationObserver(() => {
  const here = shown.querySelector("[data-here]")?.dataset.here;
  if (!here) return;
  commune.value = here;
  try {
    localStorage.setItem("near", here);
  } catch { /* chosen anew next time */ }
  drawBells(shown);
}).observe(shown, { childList: true });

/** Asks by itself, not by an event on the form: htmx takes the page's forms up only some time after it is loaded. */
function showNear(where) {
  window.htmx.ajax("GET", `/near?${new URLSearchParams(where)}`, { target: "#near-shown" });
}

async function drawBells(root) {
  const { draw } = await import("./following.js");
  draw(root);
}

const locate = find("near-locate");
locate.hidden = !("geolocation" in navigator);
locate.addEventListener("click", () => {
  locate.setAttribute("aria-busy", "true");
  navigator.geolocation.getCurrentPosition(
    ({ coords }) => {
      locate.removeAttribute("aria-busy");
      // Two places after the point are about a kilometre: enough to find the commune, too coarse for a house.
      const point = { lat: coords.latitude.toFixed(2), lon: coords.longitude.toFixed(2) };
      showNear(point);
    },
    () => {
      locate.removeAttribute("aria-busy");
      toast(locate.dataset.refused, "bad");
      commune.focus();
    },
    { maximumAge: 600_000, timeout: 10_000 },
  );
});

addEventListener("load", () => {
  // What is shown decides, not the list: after a reload the browser has put the list back by itself.
  commune.value ||= kept("near");
  if (commune.value && !shown.querySelector("[data-here]") && form.closest("section")) {
    showNear({ commune: commune.value });
  }
  showFollowed();
});

// ---- followed

function showFollowed() {
  const box = find("followed");
  if (!box) return;
  let codes = [];
  try {
    codes = JSON.parse(kept("following") || "{}").communes || [];
  } catch { /* none */ }
  box.hidden = codes.length === 0;
  if (codes.length === 0) return;
  window.htmx
    .ajax("GET", `/followed?communes=${codes.join(",")}`, { target: "#followed-shown" })
    ?.then?.(() => drawBells(box));
}
document.addEventListener("following:changed", showFollowed);

// ---- on the home screen

const install = find("install");
if (install) {
  addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    install.hidden = false;
    find("install-go").addEventListener("click", () => event.prompt(), { once: true });
  });
  addEventListener("appinstalled", () => (install.hidden = true));
  const apple = /iphone|ipad/i.test(navigator.userAgent) && !navigator.standalone;
  if (apple) {
    find("install-how").textContent = find("install-how").dataset.ios;
    find("install-go").hidden = true;
    install.hidden = false;
  }
}
