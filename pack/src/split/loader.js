
// The rest of the binary: what a first visit does not run, see pack/src/split.rs, which adds this text to the glue and puts values in place
// of REST and CALLED_BY_REST.

// After a failure it is fetched again, at the earliest so much later.
const REST_PAUSE_MS = 2000;
const REST_TEXTS = {
  en: ["A part of the page could not be loaded. Try again?", "The page has stopped, because a part of it could not be loaded.", "Reload"],
  "zh-CN": ["页面的一部分无法加载。要重试吗？", "页面的一部分无法加载，页面已停止运行。", "重新加载"],
};
let rest;
// It has come. It becomes a part of the binary at once, or when it is needed if the binary was not started yet.
let restModule;
// What the browser calls while the binary waits. Firefox goes on with events during a request that is waited for, and a binary cannot be
// entered in the middle of an update. undefined while nothing waits.
let delayed;

// `call` is of a closure, which may be dropped until then.
function delay(state, call) {
  return new Promise((resolve) => delayed.push(() => state.cnt && resolve(call())));
}

function linkRest(module) {
  if (wasm.$r.value) return;
  const f = Array.from({ length: "CALLED_BY_REST" }, (_, entry) => wasm.$l.get(entry));
  new WebAssembly.Instance(module, { f, $: wasm });
  wasm.$r.value = 1;
}

// Fetches it. The answer comes when it is there or could not be loaded.
export function loadRest() {
  rest ??= WebAssembly.compileStreaming(fetch("/REST", { credentials: "same-origin", priority: "low" }))
    .then((module) => {
      restModule = module;
      if (wasm) linkRest(module);
    })
    .catch((error) => {
      console.warn(error);
      setTimeout(() => (rest = undefined), REST_PAUSE_MS);
    });
  return rest;
}

// The binary calls a function of the rest, and the rest is not there: all waits for it. The user decides whether to go on trying, because a
// binary that is stopped in the middle cannot go on later.
function loadRestNow() {
  if (restModule) return linkRest(restModule);
  delayed = [];
  const texts = REST_TEXTS[document.documentElement.lang] ?? REST_TEXTS.en;
  do {
    try {
      const request = new XMLHttpRequest();
      request.open("GET", "/REST", false);
      // Each character is a byte. A request that is waited for has no other way to give bytes.
      request.overrideMimeType("text/plain; charset=x-user-defined");
      request.send();
      if (request.status !== 200) throw new Error(`/REST: ${request.status}`);
      linkRest(new WebAssembly.Module(Uint8Array.from(request.responseText, (text) => text.charCodeAt(0))));
      const calls = delayed;
      delayed = undefined;
      return calls.forEach((call) => queueMicrotask(call));
    } catch (error) {
      console.warn(error);
    }
  } while (confirm(texts[0]));
  // Nothing enters the binary any more: what it was at is not done, and nothing waits for it.
  delayed = { push() {} };
  stopPage(texts);
  throw new Error("/REST is missing");
}

function stopPage([, text, label]) {
  const { dataset } = document.documentElement;
  if (dataset.failed) return;
  dataset.failed = dataset.view;
  document.getElementById("main").inert = document.getElementById("header").inert = true;
  const notice = document.createElement("div");
  notice.id = notice.className = "update";
  notice.setAttribute("role", "alert");
  const button = document.createElement("button");
  button.textContent = label;
  button.onclick = () => location.reload();
  notice.append(text, button);
  document.body.append(notice);
}
