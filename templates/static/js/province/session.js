// One session's minutes as a chart. The table under it holds the same numbers; this is for the eye.

import { init } from "../../vendor/echarts.js";
import { formatMoney, formatNumber, pageData } from "../page.js";

const box = document.getElementById("timeline");
const data = pageData("timeline-data");
const words = data.words;
const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();
const clock = new Intl.DateTimeFormat("vi-VN", { hour: "2-digit", minute: "2-digit", timeZone: "Asia/Ho_Chi_Minh" });
const labels = data.at.map((at) => clock.format(at));
const minute = (at) => Math.max(0, Math.min(labels.length - 1, Math.floor((at - data.at[0]) / 60000)));

const text = { color: colour("--ink-2"), fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 13 };
const chart = init(box, null, { renderer: "svg" });
const narrow = box.clientWidth < 500; // a phone: pins by their code alone, the legend on two lines
const at = { type: "category", data: labels };
const grid = { left: 56, right: 56 };
const axis = { type: "value", axisLabel: { ...text, formatter: formatNumber }, splitLine: { lineStyle: { color: colour("--line") } } };
const short = (amount) => (amount >= 1e6 ? `${formatNumber(amount / 1e6)} tr` : formatNumber(amount));
chart.setOption({
  animation: false,
  textStyle: text,
  // Who was there above, what they ordered below, on the same minutes.
  grid: [{ ...grid, top: narrow ? 88 : 64, height: narrow ? "40%" : "46%" }, { ...grid, bottom: 32, height: "22%" }],
  axisPointer: { link: [{ xAxisIndex: "all" }] },
  legend: { top: 4, textStyle: text },
  // The page's policy forbids styles inside markup, which the usual tooltip is made of.
  tooltip: {
    trigger: "axis",
    renderMode: "richText",
    formatter: (points) => {
      const n = points[0].dataIndex;
      return [
        labels[n],
        `${words.viewers}: ${formatNumber(data.peak[n])}`,
        `${words.left}: ${formatNumber(data.left[n])}`,
        `${words.orders}: ${formatNumber(data.orders[n])}`,
        `${words.gmv}: ${formatMoney(data.gmv[n])}`,
      ].join("\n");
    },
  },
  dataZoom: [{ type: "inside", xAxisIndex: [0, 1] }],
  xAxis: [{ ...at, gridIndex: 0, axisLabel: { show: false } }, { ...at, gridIndex: 1, axisLabel: text }],
  yAxis: [
    { ...axis, gridIndex: 0 },
    { ...axis, gridIndex: 1, minInterval: 1, splitNumber: 2 },
    { ...axis, gridIndex: 1, splitNumber: 2, splitLine: { show: false }, axisLabel: { ...text, formatter: short } },
  ],
  series: [
    {
      name: words.viewers, type: "line", data: data.peak, showSymbol: false, lineStyle: { width: 3 },
      color: colour("--earth"), areaStyle: { opacity: 0.08 },
      markLine: {
        symbol: "none", silent: true, lineStyle: { color: colour("--leaf"), type: "dashed" },
        label: { ...text, formatter: "{b}" },
        data: data.pins.map((pin) => ({ name: narrow ? pin.code : `${words.pin} ${pin.code}`, xAxis: minute(pin.at) })),
      },
      markArea: {
        silent: true, itemStyle: { color: colour("--durian-soft") }, label: { ...text, position: "insideTop" },
        data: data.deals.map((deal) => [
          { name: `${words.deal} ${deal.code}`, xAxis: minute(deal.at) }, { xAxis: minute(deal.until) },
        ]),
      },
    },
    { name: words.left, type: "line", data: data.left, showSymbol: false, color: colour("--ink-2"), lineStyle: { type: "dotted" } },
    { name: words.orders, type: "bar", xAxisIndex: 1, yAxisIndex: 1, data: data.orders, color: colour("--durian-edge") },
    { name: words.gmv, type: "line", step: "middle", xAxisIndex: 1, yAxisIndex: 2, data: data.gmv, showSymbol: false, color: colour("--leaf") },
  ],
});

// The picture on air at the minute one points at. Where there was none the place stays empty.
const still = document.getElementById("still");
if (still) {
  const img = still.querySelector("img");
  let shown = -1;
  let asking;
  const show = (n) => {
    if (n === shown || !(n in data.at)) return;
    shown = n;
    clearTimeout(asking);
    asking = setTimeout(() => { img.src = still.dataset.from + Math.floor(data.at[n] / 60000); }, 150); // not each one passed over
    still.hidden = false;
    still.querySelector("[data-when]").textContent = labels[n];
    const said = [`${words.viewers}: ${formatNumber(data.peak[n])}`, `${words.orders}: ${formatNumber(data.orders[n])}`, `${words.left}: ${formatNumber(data.left[n])}`];
    still.querySelector("[data-what]").textContent = said.join(" · ");
    still.querySelector("[data-go]").href = still.dataset.replay + data.at[n];
  };
  img.addEventListener("error", () => { img.style.visibility = "hidden"; });
  img.addEventListener("load", () => { img.style.visibility = ""; });
  chart.on("updateAxisPointer", (event) => {
    const axis = event.axesInfo?.find((one) => one.axisDim === "x");
    if (axis) show(axis.value);
  });
  show(Math.max(0, data.peak.indexOf(Math.max(...data.peak)))); // at first the minute with most viewers
}

new ResizeObserver(() => chart.resize()).observe(box);
