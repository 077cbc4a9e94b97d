// Opens pages in headless Chromium, in light and dark, wide and narrow: no request leaves the page, nothing is said on the console, hovering
// over a chart tells its values. Takes pictures.
//
//     node tests/browser/check.mjs FOLDER_FOR_PICTURES PAGE.html…
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, ...pages] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const profile = mkdtempSync(join(tmpdir(), "rlpc-browser-"));
const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe", `--user-data-dir=${profile}`];
const browser = spawn("chromium", flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const [to, from] = [browser.stdio[3], browser.stdio[4]];

// The protocol of the browser: messages of JSON, each ended by a zero byte.
let number = 0, rest = "";
const answers = new Map(), listeners = [];
from.on("data", (bytes) => {
  const parts = (rest + bytes).split("\0");
  rest = parts.pop();
  for (const message of parts.map((part) => JSON.parse(part))) {
    if (message.id) answers.get(message.id)(message);
    else listeners.forEach((listener) => listener(message));
  }
});
function ask(method, params = {}, sessionId = undefined) {
  to.write(JSON.stringify({ id: ++number, method, params, sessionId }) + "\0");
  return new Promise((done, fail) =>
    answers.set(number, (answer) => (answer.error ? fail(new Error(`${method}: ${answer.error.message}`)) : done(answer.result))));
}

const problems = [];
async function check(path, scheme, width) {
  const url = pathToFileURL(resolve(path)).href;
  const { targetId } = await ask("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await ask("Target.attachToTarget", { targetId, flatten: true });
  const say = (method, params) => ask(method, params, sessionId);
  const wrong = (text) => problems.push(`${path}, ${scheme}, ${width} wide: ${text}`);
  let loaded;
  const isLoaded = new Promise((done) => (loaded = done));
  listeners.push(({ method, params, sessionId: own }) => {
    if (own !== sessionId) return;
    if (method === "Network.requestWillBeSent" && params.request.url !== url && !params.request.url.startsWith("data:"))
      wrong(`asks for ${params.request.url}`);
    if (method === "Log.entryAdded") wrong(`says ${params.entry.text}`);
    if (method === "Runtime.consoleAPICalled") wrong(`says ${JSON.stringify(params.args)}`);
    if (method === "Runtime.exceptionThrown") wrong(`throws ${params.exceptionDetails.text}`);
    if (method === "Page.javascriptDialogOpening") wrong("opens a dialog");
    if (method === "Page.loadEventFired") loaded();
  });
  for (const domain of ["Network", "Log", "Runtime", "Page"]) await say(`${domain}.enable`);
  await say("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  await say("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: false });
  await say("Page.navigate", { url });
  await isLoaded;
  const value = async (expression) => (await say("Runtime.evaluate", { expression, returnByValue: true })).result.value;
  const light = await value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b) > 382");
  if (light !== (scheme === "light")) wrong("has the other colours");
  if (await value("document.documentElement.scrollWidth > innerWidth")) wrong("is wider than the window");
  const chart = await value("(() => { const box = document.querySelector('.chart svg')?.getBoundingClientRect(); return box && [box.x + box.width / 2, box.y + box.height / 2]; })()");
  if (await value("[...document.querySelectorAll('.cross')].some((cross) => getComputedStyle(cross).display !== 'none')")) wrong("shows where no pointer is");
  if (chart) {
    await say("Input.dispatchMouseEvent", { type: "mouseMoved", x: chart[0], y: Math.min(chart[1], 880) });
    if (chart[1] < 880 && !(await value("!document.getElementById('tip').hidden && /step \\d+/.test(document.getElementById('tip').textContent)")))
      wrong("tells nothing below the pointer");
  } else wrong("has no chart");
  const height = Math.min(await value("document.documentElement.scrollHeight"), 12000);
  const { data } = await say("Page.captureScreenshot", { captureBeyondViewport: true, clip: { x: 0, y: 0, width, height, scale: 1 } });
  writeFileSync(join(folder, `${basename(dirname(resolve(path)))}-${basename(path, ".html")}-${scheme}-${width}.png`), Buffer.from(data, "base64"));
  await ask("Target.closeTarget", { targetId });
}

const limit = setTimeout(() => { console.error("the browser does not answer"); browser.kill("SIGKILL"); process.exit(1); }, 120_000);
try {
  for (const page of pages) for (const scheme of ["light", "dark"]) for (const width of [1280, 400]) await check(page, scheme, width);
  await ask("Browser.close").catch(() => {});
} catch (error) {
  problems.push(error.message);
}
clearTimeout(limit);
browser.kill("SIGKILL");
await new Promise((done) => (browser.exitCode ?? browser.signalCode ? done() : browser.on("exit", done)));
rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
problems.forEach((problem) => console.error(problem));
console.log(problems.length ? "" : `${pages.length} pages, light and dark, wide and narrow: no request, nothing on the console`);
process.exit(problems.length ? 1 : 0);
