// The service worker of a release build: the page opens without its server.
//
// One worker is one build. It installs only with every file of its build in its cache, takes over at once, and shows the page of its
// build while the server does not answer. Pages of earlier builds that are still open get their files from the caches of those builds,
// which are deleted when no page is of them.
//
// pack/src/worker.rs puts two constants before this text: BUILD, which the page has in `data-build`, and FILES, the size in bytes of
// each file by its path.
/* global BUILD, FILES */

const PREFIX = "talkback-page-";
const CACHE = PREFIX + BUILD;
// The page, which is the same at all addresses of its views.
const PAGE = "/";
// Where the page is asked for: the workbench, and the rooms of the chat.
const VIEWS = /^\/(chat(\/[^/]*)?)?$/;
// A file of any build: it has a hash in its name, or is below a folder that has one.
const HASHED = /^\/([^/]+-[0-9a-f]{16}[^/]*$|snippets\/)/;
// The server has so long to answer before the page of the cache is shown.
const NAVIGATION_MS = 2000;
// An open page has so long to say of which build it is. One that does not, such as a frozen one, may be of any.
const ANSWER_MS = 1000;
// Caches of so many earlier builds stay at most, whatever pages do not answer.
const MAX_EARLIER = 3;

// What Accept and Accept-Encoding chose is the same page in other bytes.
const match = (path, cacheName) => caches.match(path, { cacheName, ignoreVary: true });

// The answer with the whole file, or an error.
const complete = async (path, cache) => {
  const response = await fetch(path, { cache, priority: "low" });
  const { status, type, redirected } = response;
  if (status !== 200 || type !== "basic" || redirected) throw new Error(`${path}: ${type} ${status}`);
  const body = await response.clone().blob();
  // The server may have the page of another build by now, which names other files.
  const fits = path === PAGE ? (await body.text()).includes(`data-build="${BUILD}"`) : body.size === FILES[path];
  if (!fits) throw new Error(`${path} is not of the build ${BUILD}`);
  return response;
};

// Files that the page has loaded are in the browser's cache, for a year: also one that the server had not whole then.
const load = (path) => complete(path, "default").catch(() => complete(path, "reload"));

// A page forgets everything while this worker is installed.
let isForgotten = false;

const install = async () => {
  const cache = await caches.open(CACHE);
  try {
    // One after the other: pages come first.
    for (const path of [PAGE, ...Object.keys(FILES)]) {
      if (isForgotten) throw new Error("this browser is to forget the page");
      const kept = path === PAGE ? undefined : await match(path);
      await cache.put(path, kept ?? (await load(path)));
    }
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
  await skipWaiting();
};

// The build of an open page; undefined if it does not answer.
const buildOf = (page) =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => resolve(data);
    setTimeout(resolve, ANSWER_MS);
    page.postMessage("build", [port2]);
  });

const removeUnused = async () => {
  const windows = await clients.matchAll({ type: "window", includeUncontrolled: true });
  const pages = windows.filter(({ url }) => VIEWS.test(new URL(url).pathname));
  const builds = await Promise.all(pages.map(buildOf));
  const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  // A newer worker fills its cache.
  if (registration.installing || registration.waiting) return;
  const isUsed = (name) => builds.includes(undefined) || builds.includes(name.slice(PREFIX.length));
  const used = names.filter(isUsed).slice(-MAX_EARLIER);
  await Promise.all(names.filter((name) => !used.includes(name)).map((name) => caches.delete(name)));
};

const page = async (request) => {
  const kept = await match(PAGE, CACHE);
  const network = fetch(request);
  if (!kept) return network;
  const late = new Promise((resolve) => setTimeout(resolve, NAVIGATION_MS));
  const answer = await Promise.race([network, late]).catch(() => {});
  // A proxy answers with 502 and the like for a server that is away.
  return answer && answer.status < 500 ? answer : kept;
};

addEventListener("install", (event) => event.waitUntil(install()));

addEventListener("activate", (event) => event.waitUntil(clients.claim().then(removeUnused)));

addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  if (request.mode === "navigate") {
    if (VIEWS.test(pathname)) event.respondWith(page(request));
  } else if (HASHED.test(pathname)) {
    event.respondWith(match(pathname).then((kept) => kept ?? fetch(request)));
  }
});

// A press on a notification of a page, see `notify` of src/browser.rs, shows the room that it is about: in the page of the chat that was
// used last, or in a new one.
const showRoom = async (path) => {
  const windows = await clients.matchAll({ type: "window", includeUncontrolled: true });
  const chat = windows.find(({ url }) => /^\/chat(\/|$)/.test(new URL(url).pathname));
  if (!chat) return clients.openWindow(path);
  chat.postMessage({ path });
  return chat.focus();
};

addEventListener("notificationclick", (event) => {
  const { notification } = event;
  notification.close();
  event.waitUntil(showRoom(notification.data));
});

// A page asks for the build of this worker when it has started, or, while it is installed, that it is not, see offline.js.
addEventListener("message", (event) => {
  if (event.data === "forget") {
    isForgotten = true;
    return;
  }
  event.ports[0].postMessage(BUILD);
  event.waitUntil(removeUnused());
});
