// The basket of one session and the order that comes of it. Prices and stock come from the live frames;
// the server decides: every answer of it that contradicts the page corrects the page.

import { formatMoney, formatNumber, toast } from "./page.js";

const FEW = 30; // from here on a buyer is told how many are left
const TRIES = 4; // how often a busy server is asked again before the buyer is

export class Basket {
  /** `offers`: Map of code -> {code, grade, product, unit, price, deal, left}; `words`: sentences of the page. */
  constructor(data, offers, words) {
    this.code = data.code;
    this.replay = Boolean(data.replay);
    this.offers = offers;
    this.words = words;
    this.lines = new Map();
    this.form = document.getElementById("buy");
    this.sheet = document.getElementById("checkout");
    if (!this.sheet) return;
    this.restore();
    // Needed once the sheet is open, so it is not waited for.
    this.address = import("./address.js").then((it) => {
      this.commune = it.communeSearch(document.getElementById("commune-combo"), this.form.elements.province, data.province);
      if (!this.form.elements.name.value.trim()) this.fillAddress(it.remembered()); // not over what is being typed
      return it;
    });
    this.wire();
  }

  // ---- what is in it

  restore() {
    try {
      for (const [code, n] of JSON.parse(sessionStorage.getItem(`basket-${this.code}`)) || []) {
        if (this.offers.get(code)?.left > 0) this.lines.set(code, n);
      }
    } catch { /* an older or broken basket is an empty one */ }
  }

  set(code, quantity) {
    const offer = this.offers.get(code);
    const n = Math.max(0, Math.min(quantity, offer.left));
    if (n && !this.lines.has(code)) this.onAdd?.(code);
    if (n) this.lines.set(code, n);
    else this.lines.delete(code);
    this.changed();
  }

  price(code) {
    const offer = this.offers.get(code);
    return offer.deal && offer.deal.ends_at > Date.now() ? offer.deal.price : offer.price;
  }

  total() {
    let sum = 0;
    for (const [code, n] of this.lines) sum += this.price(code) * n;
    return sum;
  }

  label(offer) {
    const grade = offer.grade ? ` ${this.words.grade.replace("{grade}", offer.grade)}` : "";
    return offer.product.name + grade;
  }

  changed() {
    try {
      sessionStorage.setItem(`basket-${this.code}`, JSON.stringify([...this.lines]));
    } catch { /* kept for this page only */ }
    for (const row of document.querySelectorAll(".offer")) {
      const n = this.lines.get(row.dataset.code) || 0;
      row.classList.toggle("has", n > 0);
      const input = row.querySelector("input");
      if (input && Number(input.value) !== n) input.value = String(n);
    }
    this.drawLines();
    this.drawTotals();
    this.askShipping();
    this.onChange?.();
  }

  /** The day it leaves, of goods with a season or few hands: said before the order is placed. */
  askShipping() {
    clearTimeout(this.asking);
    if (!this.sheet?.classList.contains("is-modal") || this.lines.size === 0) return;
    this.asking = setTimeout(async () => {
      const lines = [...this.lines].map(([product, quantity]) => ({ product, quantity }));
      const answer = await fetch(`/api/v1/live-sessions/${this.code}/shipping-days`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ lines }),
      }).catch(() => null);
      const told = (await answer?.json().catch(() => null)) || {};
      let said = document.getElementById("ships");
      if (!said) {
        said = element("p", "small");
        said.id = "ships";
        said.setAttribute("role", "status");
        document.getElementById("place").before(said);
      }
      said.textContent = told.text || (answer?.status === 409 ? told.detail : "") || "";
    }, 300);
  }

  drawTotals() {
    const total = formatMoney(this.total());
    document.getElementById("total").textContent = total;
    const place = document.getElementById("place");
    if (place.getAttribute("aria-busy") !== "true") place.textContent = this.words.order.replace("{total}", total);
    place.disabled = this.lines.size === 0;
  }

  drawLines() {
    const list = document.getElementById("basket");
    if (this.lines.size === 0) {
      const none = document.createElement("li");
      none.textContent = this.words.empty;
      list.replaceChildren(none);
      return;
    }
    list.replaceChildren(...[...this.lines].map(([code, n]) => this.drawLine(this.offers.get(code), n)));
  }

  drawLine(offer, n) {
    const row = document.createElement("li");
    const head = element("div", "row row-apart");
    const what = element("div", "grow");
    what.append(element("span", "badge badge-code", offer.code), " ", element("strong", "", offer.product.name));
    const unit = this.words.units[offer.unit];
    const few = offer.left <= FEW ? ` · ${this.words.left.replace("{n}", `${formatNumber(offer.left)} ${unit}`)}` : "";
    what.append(element("div", "small muted num", `${formatMoney(this.price(offer.code))}/${unit}${few}`));
    head.append(what, this.drawStepper(offer, n));
    row.append(head);
    const grades = [...this.offers.values()].filter((other) => other.product.code === offer.product.code);
    if (grades.length > 1) row.append(this.drawGrades(offer, grades, n));
    return row;
  }

  drawStepper(offer, n) {
    const label = this.label(offer);
    const stepper = element("span", "stepper");
    const less = element("button", "", "−");
    const more = element("button", "", "+");
    const count = element("input");
    less.type = more.type = "button";
    less.setAttribute("aria-label", this.words.less.replace("{label}", label));
    more.setAttribute("aria-label", this.words.more.replace("{label}", label));
    count.type = "number";
    count.inputMode = "numeric";
    count.min = "0";
    count.value = String(n);
    count.setAttribute("aria-label", label);
    more.disabled = n >= offer.left;
    less.addEventListener("click", () => this.stepped(offer.code, n - 1, less));
    more.addEventListener("click", () => this.stepped(offer.code, n + 1, more));
    count.addEventListener("change", () => this.set(offer.code, Number.parseInt(count.value, 10) || 0));
    stepper.append(less, count, more);
    return stepper;
  }

  /** The list is drawn anew, so the finger's button is found again for the keyboard. */
  stepped(code, n, button) {
    const label = button.getAttribute("aria-label");
    this.set(code, n);
    for (const same of document.querySelectorAll("#basket button")) {
      if (same.getAttribute("aria-label") === label) same.focus();
    }
  }

  drawGrades(offer, grades, n) {
    const group = element("div", "segments");
    group.setAttribute("role", "radiogroup");
    group.setAttribute("aria-label", offer.product.name);
    for (const grade of grades) {
      const label = element("label", "segment");
      const radio = element("input");
      radio.type = "radio";
      radio.name = `grade-of-${offer.code}`;
      radio.setAttribute("form", ""); // belongs to no form: it is not sent
      radio.checked = grade.code === offer.code;
      radio.disabled = grade.left === 0;
      radio.addEventListener("change", () => this.swap(offer.code, grade.code, n));
      const face = element("span");
      face.append(element("b", "", this.words.grade.replace("{grade}", grade.grade)), element("small", "num", formatMoney(this.price(grade.code))));
      label.append(radio, face);
      group.append(label);
    }
    return group;
  }

  swap(from, to, n) {
    const kept = [...this.lines].filter(([code]) => code !== to);
    this.lines = new Map(kept.map(([code, k]) => (code === from ? [to, Math.min(n, this.offers.get(to).left)] : [code, k])));
    this.changed();
  }

  // ---- the sheet

  open() {
    if (this.sheet.classList.contains("is-modal")) return;
    document.querySelector(".session-side").dataset.now = "goods"; // a sheet inside a hidden part would not show
    this.sheet.removeAttribute("open");
    this.sheet.classList.add("is-modal");
    this.sheet.showModal();
    this.askShipping();
    this.sheet.scrollTop = 0;
  }

  wire() {
    this.sheet.addEventListener("close", () => {
      this.sheet.classList.remove("is-modal");
      this.showPlaced(false);
    });
    this.sheet.addEventListener("click", (event) => {
      if (event.target === this.sheet) this.sheet.close(); // the veil around it
    });
    document.addEventListener("click", (event) => {
      const buy = event.target.closest("[data-buy]");
      if (!buy) return;
      const code = buy.dataset.buy;
      this.set(code, Math.max(1, this.lines.get(code) || 0));
      this.open();
    });
    for (const row of document.querySelectorAll(".offer")) {
      row.querySelector("input")?.addEventListener("change", (event) => this.set(row.dataset.code, Number.parseInt(event.target.value, 10) || 0));
    }
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.place();
    });
    this.form.addEventListener("input", (event) => clearFault(event.target));
    document.getElementById("saved-edit").addEventListener("click", () => this.showSaved(false));
    document.getElementById("saved-forget").addEventListener("click", (event) => this.forgetAddress(event.target.closest("button").dataset.done));
    this.changed();
  }

  fillAddress(buyer) {
    if (!buyer) return;
    for (const name of ["name", "phone", "province", "commune", "street"]) {
      if (buyer[name] && !this.form.elements[name].value.trim()) this.form.elements[name].value = buyer[name];
    }
    const where = [buyer.street, buyer.commune, this.form.elements.province.selectedOptions[0]?.textContent];
    document.getElementById("saved-who").textContent = `${buyer.name} · ${buyer.phone}`;
    document.getElementById("saved-where").textContent = where.filter(Boolean).join(", ");
    this.showSaved(true);
  }

  /** The address goes from this device; what is ordered already keeps its own. */
  forgetAddress(done) {
    this.address.then((it) => it.forget());
    for (const name of ["name", "phone", "commune", "street"]) this.form.elements[name].value = "";
    this.showSaved(false);
    toast(done);
    this.form.elements.name.focus();
  }

  showSaved(on) {
    document.getElementById("saved").hidden = !on;
    document.getElementById("address").hidden = on;
  }

  // ---- the order

  buyer() {
    const field = this.form.elements;
    return {
      name: field.name.value.trim(), phone: field.phone.value.trim(), province: field.province.value,
      commune: field.commune.value.trim(), commune_code: this.commune.code(), street: field.street.value.trim(),
    };
  }

  /** Sentences for the fields that are surely wrong; the server looks again. */
  faults(buyer) {
    const { fill, phone, commune, consent } = this.words;
    const faults = {};
    for (const name of ["name", "phone", "commune", "street"]) if (!buyer[name]) faults[name] = fill;
    if (buyer.phone && buyer.phone.replace(/\D/g, "").length < 9) faults.phone = phone;
    if (buyer.commune && !buyer.commune_code) faults.commune = commune;
    if (!this.form.elements.consent.checked) faults.consent = consent;
    return faults;
  }

  body(buyer) {
    return {
      lines: [...this.lines].map(([product, quantity]) => ({ product, quantity })),
      buyer: { name: buyer.name, phone: buyer.phone },
      address: { province: buyer.province, commune: buyer.commune_code, street: buyer.street },
      payment: this.form.elements.payment.value,
      note: this.form.elements.note.value.trim(),
      shown_total: this.total(),
      ...(this.replay && { replay: true }),
      consent: true,
    };
  }

  async place() {
    const place = document.getElementById("place");
    if (this.lines.size === 0 || place.getAttribute("aria-busy") === "true") return;
    this.say("");
    try {
      await this.address;
    } catch {
      return this.say(this.words.offline);
    }
    const buyer = this.buyer();
    if (this.showFaults(this.faults(buyer))) return;
    place.setAttribute("aria-busy", "true");
    place.textContent = this.words.ordering;
    try {
      await this.send(this.body(buyer), buyer);
    } finally {
      place.removeAttribute("aria-busy");
      if (document.contains(place)) this.drawTotals();
    }
  }

  /** The same body keeps its key over failed lines and reloads, so that an order is never placed twice. */
  keyFor(body) {
    const text = JSON.stringify(body);
    let kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(`order-${this.code}`));
    } catch { /* none */ }
    if (kept?.text !== text) kept = { text, key: randomKey() };
    try {
      sessionStorage.setItem(`order-${this.code}`, JSON.stringify(kept));
    } catch { /* kept in this call only */ }
    return kept.key;
  }

  forgetKey() {
    try {
      sessionStorage.removeItem(`order-${this.code}`);
    } catch { /* nothing was kept */ }
  }

  async send(body, buyer) {
    for (let attempt = 1; ; attempt += 1) {
      let answer;
      try {
        answer = await fetch(`/api/v1/live-sessions/${this.code}/orders`, {
          method: "POST",
          headers: { "Content-Type": "application/json", "Idempotency-Key": this.keyFor(body) },
          body: JSON.stringify(body),
        });
      } catch {
        return this.say(this.words.offline);
      }
      const told = await answer.json().catch(() => ({}));
      if (answer.status === 201) return this.placed(told, buyer);
      if ((answer.status === 503 || answer.status === 429) && attempt < TRIES) {
        const wait = Math.min(10, Number(answer.headers.get("Retry-After")) || 2) + Math.random();
        this.say(this.words.busy.replace("{s}", String(Math.ceil(wait))));
        await new Promise((done) => setTimeout(done, wait * 1000));
        this.say("");
      } else if (told.code === "idempotency_conflict" && attempt < TRIES) {
        this.forgetKey();
      } else {
        return this.refused(told);
      }
    }
  }

  refused(told) {
    if (told.code === "sold_out") {
      const short = told.lines.map((line) => this.words.short_line.replace("{code}", line.product).replace("{n}", formatNumber(line.left)));
      for (const line of told.lines) {
        const offer = this.offers.get(line.product);
        if (!offer) continue;
        offer.left = line.left;
        if (line.left > 0) this.lines.set(line.product, line.left);
        else this.lines.delete(line.product);
      }
      this.changed();
      this.say(this.words.short.replace("{lines}", short.join(", ")));
    } else if (told.code === "total_changed") {
      for (const line of told.lines || []) {
        const offer = this.offers.get(line.product);
        if (offer && line.unit_price !== this.price(line.product)) {
          if (offer.deal) offer.deal = null;
          if (line.unit_price !== offer.price) offer.price = line.unit_price;
        }
      }
      this.changed();
      this.say(this.words.changed.replace("{total}", formatMoney(told.total)));
    } else if (told.errors?.length) {
      const mine = {};
      const others = [];
      for (const { field, message } of told.errors) {
        const name = field.split(".").pop();
        if (["name", "phone", "commune", "street", "province", "consent", "note"].includes(name)) mine[name] = message;
        else others.push(message);
      }
      this.showFaults(mine);
      this.say(others.join(" "));
    } else {
      this.say(told.detail || this.words.try_again);
    }
  }

  placed(told, buyer) {
    this.forgetKey();
    this.address.then((it) => it.remember(buyer));
    keepOrders(told.orders);
    this.lines.clear();
    this.changed();
    // One order to be paid now: on to the card page, or to the page with the code to scan.
    const { payment, track_url } = told.orders[0];
    const away = told.orders.length === 1 && payment.due_now > 0 && (payment.method === "card" ? payment.checkout_url : track_url);
    if (away) {
      location.assign(away);
      return;
    }
    this.form.elements.consent.checked = false;
    this.fillAddress(buyer);
    this.thank(told.orders);
  }

  thank(orders) {
    const list = document.getElementById("placed-orders");
    list.replaceChildren(...orders.map((order) => {
      const row = element("li");
      const link = element("a");
      const what = element("span", "grow");
      link.href = order.track_url;
      what.append(element("strong", "", order.code), element("br"), element("span", "small muted", `${order.seller} · ${this.words.track}`));
      link.append(what, element("b", "num", formatMoney(order.total)));
      row.append(link);
      return row;
    }));
    this.showPlaced(true);
    document.getElementById("placed").focus();
  }

  showPlaced(on) {
    document.getElementById("placed").hidden = !on;
    this.sheet.classList.toggle("is-done", on);
  }

  // ---- telling

  say(text) {
    const problem = document.getElementById("checkout-problem");
    problem.replaceChildren();
    if (!text) return;
    problem.append(element("p", "notice notice-bad", text));
    problem.scrollIntoView({ block: "nearest" });
  }

  /** Marks the fields; true when there was any. */
  showFaults(faults) {
    const names = Object.keys(faults);
    for (const name of names) {
      const input = this.form.elements[name];
      const box = input.closest(".field");
      clearFault(input);
      box.classList.add("field-bad");
      const line = element("p", "fault", faults[name]);
      line.id = `f-${name}-fault`;
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", line.id);
      box.append(line);
    }
    if (names.length === 0) return false;
    if (names.some((name) => name !== "consent" && name !== "note")) this.showSaved(false);
    this.form.elements[names[0]].focus();
    return true;
  }
}

function element(tag, className = "", text = null) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== null) node.textContent = text;
  return node;
}

function clearFault(input) {
  const box = input.closest?.(".field-bad");
  if (!box) return;
  box.classList.remove("field-bad");
  box.querySelector(".fault")?.remove();
  input.removeAttribute("aria-invalid");
}

/** 128 random bits; crypto.randomUUID would need https. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The buyer's orders, on this device only, so that the tracking pages are found again. */
function keepOrders(orders) {
  try {
    const before = JSON.parse(localStorage.getItem("orders") || "[]");
    const kept = orders.map(({ code, track_url }) => ({ code, track_url, at: Date.now() }));
    localStorage.setItem("orders", JSON.stringify([...kept, ...before].slice(0, 50)));
  } catch { /* private window */ }
}
