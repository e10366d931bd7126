// The province's screen: the map can be moved and enlarged, what is on air is asked for again and again.

const KEEP = 1.2; // pointer travel, in map units at full size, below which a drag is still a click

function wireMap(figure) {
  const svg = figure.querySelector("svg");
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  let view = { x: 0, y: 0, w: width };

  function draw() {
    view.w = Math.min(width, Math.max(width / 12, view.w));
    const h = (view.w * height) / width;
    view.x = Math.min(width - view.w, Math.max(0, view.x));
    view.y = Math.min(height - h, Math.max(0, view.y));
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${h}`);
    figure.dataset.near = view.w < width / 4 ? "2" : view.w < width / 1.8 ? "1" : "0";
  }

  function zoom(factor, cx = view.x + view.w / 2, cy = view.y + (view.w * height) / width / 2) {
    const w = Math.min(width, Math.max(width / 12, view.w / factor));
    view = { x: cx - ((cx - view.x) * w) / view.w, y: cy - ((cy - view.y) * w) / view.w, w };
    draw();
  }

  function at(event) {
    const box = svg.getBoundingClientRect();
    return [
      view.x + ((event.clientX - box.left) / box.width) * view.w,
      view.y + ((event.clientY - box.top) / box.height) * ((view.w * height) / width),
    ];
  }

  for (const button of figure.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      const factor = Number(button.dataset.zoom);
      if (factor) zoom(factor);
      else { view = { x: 0, y: 0, w: width }; draw(); }
    });
  }
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && view.w >= width && event.deltaY > 0) return; // let the page scroll on
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...at(event));
  }, { passive: false });

  const pointers = new Map();
  let moved = 0;
  svg.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    moved = 0;
  });
  svg.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const [x1, y1] = at(before);
    const [x2, y2] = at(event);
    if (pointers.size === 2) {
      const other = [...pointers.values()].find((p) => p.pointerId !== event.pointerId);
      const far = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
      zoom(far(event) / Math.max(1, far(before)), ...at(other));
      moved = KEEP + 1;
    } else if (view.w < width) {
      view.x -= x2 - x1;
      view.y -= y2 - y1;
      moved += Math.hypot(x2 - x1, y2 - y1) * (width / view.w);
      draw();
    }
    pointers.set(event.pointerId, event);
  });
  const lift = (event) => pointers.delete(event.pointerId);
  svg.addEventListener("pointerup", lift);
  svg.addEventListener("pointercancel", lift);
  svg.addEventListener("pointerleave", lift);
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  svg.addEventListener("click", (event) => { if (moved > KEEP * 4) event.preventDefault(); }, true);
  draw();
}

function refresh(box) {
  const again = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(box.dataset.refresh, { headers: { "HX-Request": "true" } });
        if (answer.ok) box.innerHTML = await answer.text();
      } catch { /* the next try comes soon */ }
    }
    setTimeout(again, Number(box.dataset.every) * 1000);
  };
  setTimeout(again, Number(box.dataset.every) * 1000);
}

for (const figure of document.querySelectorAll("[data-map]")) wireMap(figure);
for (const box of document.querySelectorAll("[data-refresh]")) refresh(box);

// Two to five communes can be compared; the button says so before the server has to.
const table = document.querySelector("table.compare");
const go = document.querySelector(".compare-go button");
if (table && go) {
  const update = () => {
    const n = table.querySelectorAll("input:checked").length;
    go.disabled = n < 2 || n > 5;
  };
  table.addEventListener("change", update);
  update();
}
