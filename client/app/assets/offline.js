// Registers the service worker, tells when a newer build is ready, and removes all of it. boot.js loads this file in a release build only,
// once the first view works and the network is quiet, so that it competes with nothing.

const TEXTS = {
  en: ["A new version is ready.", "Reload", "Not now"],
  "zh-CN": ["有新版本可用", "重新加载", "稍后再说"],
};
// The browser asks for a newer worker when a page is opened; a page that stays open asks as often.
const CHECK_MS = 3_600_000;

const workers = navigator.serviceWorker;
const page = document.documentElement;

// Shows the notice, which stands over the header or below it and moves nothing. The page is loaded anew by the user alone: that closes its
// connections. Drafts are kept by the tab.
const tell = () => {
  if (document.getElementById("update")) return;
  const notice = document.createElement("div");
  notice.id = notice.className = "update";
  notice.setAttribute("role", "status");
  document.body.append(notice);
  const button = (id, onclick) => Object.assign(document.createElement("button"), { id, type: "button", onclick });
  const text = document.createElement("span");
  const parts = [text, button("update_now", () => location.reload()), button("update_later", () => notice.remove())];
  parts[1].dataset.look = "primary";
  const draw = () => TEXTS[page.lang].forEach((text, index) => (parts[index].textContent = text));
  addEventListener("talkback:settings", draw);
  draw();
  // What is added to a live region that is there already is read by screen readers.
  setTimeout(() => notice.append(...parts), 100);
};

// Registers the worker. `first` is the one that this page was loaded by, if any.
export const start = async (first) => {
  // The worker tells the room of a notification that was pressed, or asks of which build this page is, see sw.js.
  workers.addEventListener("message", ({ data, ports }) => {
    const { path } = data;
    if (!path) {
      ports[0]?.postMessage(page.dataset.build);
    } else if (path !== location.pathname) {
      history.pushState(null, "", path + location.search);
      dispatchEvent(new Event("talkback:path"));
    }
  });
  const compare = () => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => {
      // The worker that loaded this page may be older than the page, which comes from the server if it answers.
      if (data !== page.dataset.build && workers.controller !== first) tell();
    };
    workers.controller?.postMessage("build", [port2]);
  };
  workers.addEventListener("controllerchange", compare);
  const registration = await workers.register("/sw.js", { updateViaCache: "none" });
  compare();
  let checked = Date.now();
  const check = () => {
    if (document.hidden || Date.now() - checked < CHECK_MS) return;
    checked = Date.now();
    // Without a network it is asked again later.
    registration.update().catch(() => {});
  };
  setInterval(check, CHECK_MS);
  document.addEventListener("visibilitychange", check);
};

// A worker is waited for so long before it is unregistered.
const SETTLE_MS = 5000;

// Firefox never ends the activation of a worker that is unregistered before, and keeps each request of the pages that it has claimed until then.
const settled = (worker) =>
  new Promise((resolve) => {
    setTimeout(resolve, SETTLE_MS);
    const look = () => ["activated", "redundant"].includes(worker.state) && resolve();
    worker.addEventListener("statechange", look);
    look();
  });

// Unregisters the worker and deletes its caches, which sw.js names. Others of this origin may belong to another application.
export const forget = async () => {
  const registration = await workers.getRegistration("/");
  if (registration) {
    const { installing, waiting, active } = registration;
    // It loads no more files.
    installing?.postMessage("forget");
    await settled(installing ?? waiting ?? active);
    await registration.unregister();
  }
  for (const name of await caches.keys()) if (name.startsWith("talkback-page-")) await caches.delete(name);
};
