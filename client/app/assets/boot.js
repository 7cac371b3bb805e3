// Runs before the first paint: applies the remembered theme and language, and loads the binary of the view that the path names. The other
// view's is loaded when it is first shown. A separate file because the content security policy forbids inline code.
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
  const tags = { en: "en", zh: "zh-CN" };
  const preferred = [remembered("talkback.language"), ...(navigator.languages ?? [])];
  page.lang = preferred.map((tag) => tags[tag?.split("-")[0].toLowerCase()]).find(Boolean) ?? "en";

  // The icons get their names here, because Trunk drops them. The second one waits for unread messages.
  const [icon, unread] = document.querySelectorAll("link[rel=icon]");
  icon.id = "icon";
  unread.id = "icon_unread";
  unread.rel = "alternate";

  // Read by src/workbench/pattern_worker.rs. Here, because a release build names the file by its content and changes the name in scripts.
  page.dataset.patternWorker = "/pattern-worker.js";

  const files = {
    workbench: ["/talkback-workbench.js", "/talkback-workbench_bg.wasm"],
    chat: ["/talkback-chat.js", "/talkback-chat_bg.wasm"],
  };
  const parsed = new Promise((resolve) => addEventListener("DOMContentLoaded", resolve, { once: true }));
  const loading = {};

  const load = async ([glue, wasm]) => {
    // Both at once. A promise without a handler would be reported as an error of its own.
    const bytes = fetch(wasm, { credentials: "same-origin" });
    bytes.catch(() => {});
    const { default: start } = await import(glue);
    await parsed;
    await start({ module_or_path: bytes });
  };

  // The rule of src/route.rs.
  const show = () => {
    const view = /^\/chat(\/|$)/.test(location.pathname) ? "chat" : "workbench";
    page.dataset.view = view;
    loading[view] ??= load(files[view]).catch((error) => {
      // After a new build is served, files of the former one are gone: a reload finds the new ones.
      delete loading[view];
      page.dataset.failed = view;
      console.error(error);
    });
  };
  addEventListener("popstate", show);
  addEventListener("talkback:path", show);
  show();
}
