// The delivery address: remembered on this device only, and a commune found by folded typing.

import { fold } from "./fold.js";

const KEY = "buyer";
const SHOWN = 8; // what fits above a phone's keyboard

/** {name, phone, province, commune (shown), commune_code, street} or null. */
export function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEY));
  } catch {
    return null;
  }
}

export function remember(buyer) {
  try {
    localStorage.setItem(KEY, JSON.stringify(buyer));
  } catch { /* private window: asked again next time */ }
}

export function forget() {
  try {
    localStorage.removeItem(KEY);
  } catch { /* nothing was kept */ }
}

/**
 * Turns a text field with a <datalist> into a search that folds tone marks. Options carry data-code.
 * Returns {code(): the code of what is typed, or "" when it is not in the list}.
 */
export function communeSearch(box, province, home) {
  const input = box.querySelector("input");
  const places = Array.from(box.querySelectorAll("option"), (option) => {
    const key = fold(option.value);
    return { code: option.dataset.code, name: option.value, key, bare: key.replace(/^(xa|phuong) /, "") };
  });
  input.removeAttribute("list"); // the browser's own list does not fold
  box.querySelector("datalist").remove();

  const list = document.createElement("ul");
  list.className = "combo-list";
  list.id = "commune-options";
  list.setAttribute("role", "listbox");
  list.hidden = true;
  input.after(list);
  for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id, "aria-expanded": "false" })) {
    input.setAttribute(name, value);
  }
  let found = [];
  let current = -1;

  function close() {
    list.hidden = true;
    current = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function choose(place) {
    input.value = place.name;
    close();
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  function search() {
    if (province.value !== home) return close(); // elsewhere the name is written freely
    const wanted = fold(input.value);
    const joined = wanted.replace(/ /g, "");
    const rank = (place) => (place.bare.startsWith(wanted) ? 0 : place.key.includes(wanted) || place.bare.replace(/ /g, "").startsWith(joined) ? 1 : 2);
    found = places.filter((place) => rank(place) < 2).sort((a, b) => rank(a) - rank(b)).slice(0, SHOWN);
    list.replaceChildren(...found.map((place, index) => {
      const item = document.createElement("li");
      item.id = `commune-option-${index}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      item.textContent = place.name;
      item.addEventListener("pointerdown", (event) => {
        event.preventDefault(); // keeps the field from losing focus, which would close the list first
        choose(place);
      });
      return item;
    }));
    current = -1;
    list.hidden = found.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
  }

  function move(by) {
    if (list.hidden) return search();
    current = (current + by + found.length) % found.length;
    Array.from(list.children).forEach((item, index) => {
      item.setAttribute("aria-selected", String(index === current));
      if (index === current) item.scrollIntoView({ block: "nearest" });
    });
    input.setAttribute("aria-activedescendant", `commune-option-${current}`);
  }

  input.addEventListener("input", search);
  input.addEventListener("focus", () => {
    box.scrollIntoView({ block: "start" }); // room for the list above the keyboard
    search();
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      move(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && current >= 0) {
      event.preventDefault();
      choose(found[current]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault(); // closes the list, not the sheet around it
      event.stopPropagation();
      close();
    }
  });

  return {
    /** The code of what is typed; what is typed itself in another province; "" when nothing fits. */
    code() {
      if (province.value !== home) return input.value.trim();
      const typed = fold(input.value);
      const same = places.filter((place) => place.key === typed || place.bare === typed);
      return same.length === 1 ? same[0].code : "";
    },
  };
}
