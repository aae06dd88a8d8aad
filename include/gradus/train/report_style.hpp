// How a report looks: calm, in light and in dark, on screens and on paper.
#pragma once

#include "gradus/core/config.hpp"

namespace gradus::training::detail::inline GRADUS_BUILD {

inline constexpr auto report_style =
    R"(
:root { color-scheme: light dark; --page: #fbfbfa; --panel: #fff; --text: #1f2328; --soft: #667079; --line: #e3e5e8;
  --hit: 37, 99, 168; --miss: 217, 115, 13; --bar: rgba(37, 99, 168, .16);
  --s0: #2563a8; --s1: #d9730d; --s2: #2e8b57; --s3: #8250b4; --s4: #c8383e; --s5: #14869a; --s6: #8c6239; --s7: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --page: #15181c; --panel: #1c2026; --text: #e4e7ea; --soft: #98a2ac;
  --line: #31373f; --hit: 74, 141, 214; --miss: 224, 132, 44; --bar: rgba(110, 168, 230, .22);
  --s0: #6ea8e6; --s1: #f0a04b; --s2: #63c08b; --s3: #b794e0; --s4: #ef7a7f; --s5: #56c7d4; --s6: #c9a27a; --s7: #a7adb8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 36px 24px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 6px; font-weight: 650; }
h2 { font-size: 17px; margin: 36px 0 12px; font-weight: 620; }
p { margin: 0 0 8px; }
.lead, .note { color: var(--soft); max-width: 75ch; }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 24px 0 0; padding: 0; }
.figures div { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 18px; min-width: 150px; }
.figures dt { color: var(--soft); font-size: 13px; }
.figures dd { margin: 0; font-size: 23px; font-weight: 600; font-variant-numeric: tabular-nums; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 16px; align-items: start; }
.columns h2 { margin-top: 32px; }
figure { margin: 0 0 16px; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; }
.columns figure { margin: 0; }
figcaption { font-weight: 600; margin-bottom: 4px; }
figure img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: 13px; color: var(--soft); margin: 0 0 6px; }
.legend svg { vertical-align: middle; }
.chart { display: block; width: 100%; height: auto; }
.chart text { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); stroke-opacity: .6; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; } .dashed { stroke-dasharray: 5 4; } .fine { stroke-width: 1.2; }
.mark { stroke: var(--panel); stroke-width: 1; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { font-weight: 500; text-align: left; }
.list { width: 100%; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; border-collapse: separate; border-spacing: 0; }
.list th, .list td { padding: 6px 14px; border-top: 1px solid var(--line); vertical-align: top; }
.list tr:first-child > * { border-top: 0; }
.list td { overflow-wrap: anywhere; }
.list.pairs th { color: var(--soft); width: 38%; }
.list.scores { max-width: 720px; table-layout: fixed; }
.list.scores thead th { color: var(--soft); font-size: 13px; }
.list.scores :is(td, thead th:not(:first-child)) { text-align: right; }
.list.scores tfoot :is(th, td) { font-weight: 600; border-top: 1px solid var(--soft); }
.bar { background: linear-gradient(90deg, var(--bar) var(--share), transparent var(--share)) no-repeat 8px 50% / calc(100% - 16px) 68%; }
.matrix { font-size: 13px; }
.matrix td { min-width: 46px; height: 34px; padding: 0 6px; text-align: center; border: 1px solid var(--page); background: var(--panel); border-radius: 5px; }
.matrix th { color: var(--soft); padding: 0 10px 0 0; text-align: right; font-weight: 400; white-space: nowrap; }
.matrix thead th { vertical-align: bottom; text-align: left; padding: 0 0 8px; }
.matrix thead span { display: block; margin: 0 auto; writing-mode: vertical-rl; transform: rotate(180deg); }
.matrix .none { color: var(--line); } .matrix .strong { color: #fff; }
.hit { background: rgba(var(--hit), var(--share)) !important; } .miss { background: linear-gradient(rgba(var(--miss), var(--share)), rgba(var(--miss), var(--share))), var(--panel) !important; }
pre { margin: 0; padding: 14px 16px; overflow-x: auto; background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  font: 12.5px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
footer { margin-top: 40px; color: var(--soft); font-size: 13px; }
@media print { main { max-width: none; padding: 0; } figure, pre, .list { break-inside: avoid; } }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); } .s2 { stroke: var(--s2); } .s3 { stroke: var(--s3); }
.s4 { stroke: var(--s4); } .s5 { stroke: var(--s5); } .s6 { stroke: var(--s6); } .s7 { stroke: var(--s7); }
.mark.s0 { fill: var(--s0); } .mark.s1 { fill: var(--s1); } .mark.s2 { fill: var(--s2); } .mark.s3 { fill: var(--s3); }
.mark.s4 { fill: var(--s4); } .mark.s5 { fill: var(--s5); } .mark.s6 { fill: var(--s6); } .mark.s7 { fill: var(--s7); }
.mark { stroke: var(--panel); }
)";

}  // namespace gradus::training::detail::inline GRADUS_BUILD
