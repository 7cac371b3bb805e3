// Runs before the first paint: applies the remembered theme and language, and loads the style sheet and the binary of the view that the path
// names. The other view's binary is loaded when it is first shown. A release build has it in the page, see pack/src/bundle.rs.
{
  const page = document.documentElement;
  // The keys are those of `Setting` in src/browser/storage.rs.
  const remembered = (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      // Without storage the page follows the system.
      return null;
    }
  };
  page.dataset.theme = remembered("talkback.theme") || "system";
  // The bar of the browser or of the installed application has the theme's colour, also where the user has chosen one.
  const colours = document.querySelectorAll("meta[name=theme-color]");
  const colour = () =>
    ["light", "dark"].forEach((name, index) => {
      const { theme } = page.dataset;
      colours[index].media = theme === "system" ? `(prefers-color-scheme: ${name})` : theme === name ? "all" : "not all";
    });
  colour();
  addEventListener("talkback:settings", colour);
  const tags = { en: "en", zh: "zh-CN" };
  const preferred = [remembered("talkback.language"), ...(navigator.languages ?? [])];
  page.lang = preferred.map((tag) => tags[tag?.split("-")[0].toLowerCase()]).find(Boolean) ?? "en";

  // Read by src/workbench/pattern_worker.rs. Here, because a release build names the file by its content and changes the name in scripts.
  page.dataset.patternWorker = "/pattern-worker.js";

  // The rule of src/route.rs.
  const named = () => (/^\/chat(\/|$)/.test(location.pathname) ? "chat" : "workbench");

  // Of each view the sheet of a first visit, and what the other view's first one has not. The latter come together at last.
  const sheets = {
    workbench: ["/talkback-workbench.css", "/workbench-later.css"],
    chat: ["/talkback-chat.css", "/chat-later.css"],
  };
  // Written, not added as an element: the browser then paints nothing before it is there, as with one that stands in the page.
  document.write(`<link rel="stylesheet" href="${sheets[named()][0]}">`);
  const styled = { [named()]: Promise.resolve() };
  const style = (view) =>
    (styled[view] ??= new Promise((onload, failed) => {
      const href = sheets[view][1];
      const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href, onload });
      link.onerror = () => {
        link.remove();
        delete styled[view];
        failed(new Error(href));
      };
      document.head.append(link);
    }));
  // Once: where it does not succeed, the view asks again when it is shown.
  let all;
  const styleAll = () => (all ??= Promise.all(Object.keys(sheets).map(style)).catch(console.warn));

  const files = {
    workbench: ["/talkback-workbench.js", "/talkback-workbench_bg.wasm"],
    chat: ["/talkback-chat.js", "/talkback-chat_bg.wasm"],
  };
  const parsed = new Promise((resolve) => addEventListener("DOMContentLoaded", resolve, { once: true }));
  const loading = {};

  // The service worker, see offline.js: where the browser has them, which it does for secure pages alone.
  const workers = navigator.serviceWorker;
  const first = workers?.controller;
  // After the page has forgotten everything, this entry of the tab's history keeps nothing until the user leaves it.
  const FORGOTTEN = "forgotten";
  // The network is quiet when the page has loaded nothing for so long.
  const QUIET_MS = 3000;
  const quiet = () =>
    new Promise((resolve) => {
      let timer;
      const wait = () => {
        clearTimeout(timer);
        timer = setTimeout(resolve, QUIET_MS, observer);
      };
      const observer = new PerformanceObserver(wait);
      observer.observe({ type: "resource" });
      wait();
    });
  const workOffline = async () => {
    if (!page.dataset.build) {
      // A development build has no worker, and removes that of a release build at the same address.
      await (await workers?.getRegistration("/"))?.unregister();
    } else if (workers && history.state !== FORGOTTEN) {
      await idle;
      await (await import("/offline.js")).start(first);
    }
  };
  // What was read in the chat, see src/chat/history_store.rs. It is gone when all pages have closed it, as they are told to.
  const forgetHistory = () =>
    new Promise((resolve) => {
      setTimeout(resolve, 1000);
      const request = indexedDB.deleteDatabase("talkback.history");
      request.onsuccess = request.onerror = resolve;
    });
  // While another page held it, deleting it was not waited for. Not once somebody uses the chat again.
  if (history.state === FORGOTTEN && !remembered("talkback.name")) forgetHistory().catch(console.warn);
  addEventListener("talkback:forget", async () => {
    // What the page would still write until it is gone.
    Storage.prototype.setItem = () => {};
    await forgetHistory().catch(console.warn);
    // A worker that cannot be removed has no more than the page's files.
    if (workers && page.dataset.build) await import("/offline.js").then(({ forget }) => forget()).catch(console.warn);
    history.replaceState(FORGOTTEN, "");
    location.reload();
  });
  let offline, idle;
  // What a first visit does not need is loaded when the user does something, and at the latest when the network is quiet: what it does not
  // run of the binary, see pack/src/split.rs, and the other view's style sheet. The binary of a development build is not split.
  const INTERACTIONS = ["pointermove", "pointerdown", "keydown", "wheel"];
  // The network may be away just then.
  const RETRY_MS = 60_000;
  const keepTrying = (times) =>
    workOffline().catch((error) => {
      console.warn(error);
      if (times > 1) setTimeout(keepTrying, RETRY_MS, times - 1);
    });

  // A binary is started without its rest after so long: another build than the worker's may be on a slow network.
  const REST_MS = 2000;
  const load = async (view) => {
    const [glue, wasm] = files[view];
    // Both at once. A promise without a handler would be reported as an error of its own.
    const bytes = fetch(wasm, { credentials: "same-origin" });
    bytes.catch(() => {});
    const { default: start, loadRest } = await import(glue);
    await parsed;
    await style(view);
    // WebKit asks no service worker for a request that is waited for: where the page may be open without its server, all of the binary is
    // there before it is started.
    if (workers?.controller) await Promise.race([loadRest?.(), new Promise((resolve) => setTimeout(resolve, REST_MS))]);
    await start({ module_or_path: bytes });
    // The browser has all files already, or the user has changed the view.
    const atOnce = first || idle;
    idle ??= quiet().then((observer) => observer.disconnect());
    const loadLater = () => {
      loadRest?.();
      styleAll();
    };
    INTERACTIONS.forEach((type) => addEventListener(type, loadLater, { capture: true, passive: true }));
    (atOnce ? Promise.resolve() : idle).then(loadLater);
    offline ??= keepTrying(5);
  };

  const show = () => {
    const view = named();
    // Not before its style sheet is there.
    const draw = () => {
      if (view === named()) page.dataset.view = view;
    };
    style(view).then(draw, draw);
    loading[view] ??= load(view).catch((error) => {
      // After a new build is served, files of the former one are gone: a reload finds the new ones.
      delete loading[view];
      page.dataset.failed = view;
      console.error(error);
    });
  };
  // A file that is dropped beside the place for it would be opened in place of the page.
  for (const type of ["dragover", "drop"]) {
    addEventListener(type, (event) => {
      const { dataTransfer, target } = event;
      if (event.defaultPrevented || !dataTransfer?.types.includes("Files") || target.closest?.("input[type=file]")) return;
      event.preventDefault();
      dataTransfer.dropEffect = "none";
    });
  }

  // Escape in a text field closes the popover around it. WebKitGTK leaves the key to the field; the others do this by themselves.
  addEventListener("keydown", (event) => {
    const popover = event.key === "Escape" && !event.isComposing && event.target.closest?.(":popover-open");
    if (popover && !event.defaultPrevented) {
      event.preventDefault();
      popover.hidePopover();
    }
  });

  addEventListener("popstate", show);
  addEventListener("talkback:path", show);
  show();
}
