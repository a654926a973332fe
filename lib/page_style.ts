/**
 * How the status pages look: light and dark, from the width of a phone on, with nothing from elsewhere.
 */

export const pageStyle = `
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #fff; --ink: #16191d; --soft: #59636e; --line: #dfe3e8;
  --accent: #0b63ce; --on-accent: #fff; --good: #12783d; --warn: #8a5a00; --bad: #b3261e;
  --have: #1f8a4c; --lack: #e4e8ed;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1216; --card: #171b21; --ink: #e7eaee; --soft: #9aa5b1; --line: #2a313a;
    --accent: #6cb0ff; --on-accent: #0b1118; --good: #5fd08f; --warn: #e3b341; --bad: #ff8f87;
    --have: #3fb26f; --lack: #2b323b;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums;
}
header, main, footer { max-width: 64rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.75rem; }
footer { padding-top: .5rem; padding-bottom: 2.5rem; color: var(--soft); font-size: .875rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.0625rem; margin: 0 0 .75rem; }
h2 small { font-weight: 400; color: var(--soft); font-size: .875rem; margin-left: .35rem; }
p { margin: 0; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  padding: 1.125rem 1.25rem; margin: 1rem 0;
}
.soft { color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: .125rem 1.5rem; margin: .375rem 0 0; color: var(--soft); }
.facts b { color: var(--ink); font-weight: 600; }
.dot { display: inline-block; width: .625rem; height: .625rem; border-radius: 50%; margin-right: .375rem; background: var(--good); }
.dot.off { background: var(--warn); }
code, .id { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .875em; }
.link { display: flex; gap: .5rem; align-items: center; margin-top: .75rem; }
.link code {
  flex: 1; min-width: 0; padding: .4375rem .625rem; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--ground); overflow-x: auto; white-space: nowrap;
}
button, .button, input[type=search] {
  font: inherit; font-size: .875rem; border: 1px solid var(--line); border-radius: .5rem; min-height: 2.25rem;
  padding: .3125rem .75rem; background: var(--card); color: var(--ink); cursor: pointer;
}
input[type=search] { cursor: text; width: 100%; max-width: 20rem; }
button:hover, .button:hover { border-color: var(--accent); }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); font-weight: 600; }
button:disabled { opacity: .55; cursor: default; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
form { margin: 0; }
form.search { display: flex; gap: .5rem; margin-bottom: .75rem; }
.buttons { display: flex; gap: .5rem; flex-wrap: wrap; }
table { width: 100%; border-collapse: collapse; table-layout: auto; }
th { text-align: left; font-size: .8125rem; font-weight: 600; color: var(--soft); padding: .25rem .75rem .375rem 0; white-space: nowrap; }
td { padding: .4375rem .75rem .4375rem 0; border-top: 1px solid var(--line); vertical-align: middle; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; }
.name { overflow-wrap: anywhere; width: 60%; }
.clip { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; line-clamp: 3; overflow: hidden; }
.act button { color: var(--accent); font-weight: 600; }
.act { text-align: right; width: 1%; white-space: nowrap; }
.via { display: inline-block; border: 1px solid var(--line); border-radius: 1rem; padding: 0 .5rem; font-size: .8125rem; }
.via.relayed { color: var(--warn); border-color: currentColor; }
.via.punched { color: var(--accent); border-color: currentColor; }
.via.tcp, .via.quic { color: var(--good); border-color: currentColor; }
.item { border-top: 1px solid var(--line); padding: .875rem 0; }
.item:first-of-type { border-top: 0; padding-top: 0; }
.item:last-child { padding-bottom: 0; }
.item .top { display: flex; gap: .75rem; align-items: flex-start; justify-content: space-between; flex-wrap: wrap; }
.item .title { font-weight: 600; overflow-wrap: anywhere; min-width: 0; flex: 1 1 14rem; }
.item .more { color: var(--soft); font-size: .875rem; margin-top: .25rem; }
.item table { margin-top: .5rem; font-size: .875rem; }
.state { font-weight: 600; }
.state.complete { color: var(--good); } .state.failed { color: var(--bad); } .state.paused, .state.queued { color: var(--warn); }
.map { display: block; width: 100%; height: .875rem; margin-top: .5rem; border-radius: .25rem; background: var(--lack); }
.map rect { fill: var(--have); }
.map.small { height: .5rem; margin-top: .25rem; }
.map.done rect { opacity: .55; }
.drop {
  border: 1.5px dashed var(--line); border-radius: .75rem; padding: 1rem; text-align: center; color: var(--soft);
  margin-top: .875rem; display: block;
}
.drop { cursor: pointer; position: relative; }
.drop b { color: var(--accent); font-weight: 600; text-decoration: underline; }
.drop:hover, .drop.over { border-color: var(--accent); color: var(--ink); }
.drop:focus-within { outline: 2px solid var(--accent); outline-offset: 2px; }
.drop input { position: absolute; inset: 0; width: 100%; opacity: 0; cursor: pointer; }
#told { position: fixed; left: 50%; bottom: 1.25rem; transform: translateX(-50%); max-width: calc(100vw - 2rem); z-index: 1;
  background: var(--ink); color: var(--card); padding: .5rem .875rem; border-radius: .5rem; overflow-wrap: anywhere; }
#told:empty { display: none; }
details summary { cursor: pointer; color: var(--soft); font-size: .875rem; margin-top: .625rem; width: fit-content; }
.qr { display: block; width: 11rem; height: 11rem; margin-top: .625rem; background: #fff; border-radius: .5rem; }
.bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin-top: 1rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: .75rem 1rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.2; font-weight: 650; }
.tile span { color: var(--soft); font-size: .875rem; }
.health { white-space: nowrap; }
table + p { margin-top: .5rem; }
.health.good { color: var(--good); } .health.fair { color: var(--warn); } .health.poor { color: var(--bad); }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: .15em; }
@media (max-width: 40rem) {
  header, main, footer { padding-left: .875rem; padding-right: .875rem; }
  section { padding: .9375rem; }
  .wide { display: none; }
  .item .more:has(.downloading) { min-height: 3em; }
}
@media (prefers-reduced-motion: no-preference) { .map rect { transition: width .3s; } }
`;

/** For browsers that run no scripts. */
export const plainStyle = ".needs-script { display: none !important; }\n";
