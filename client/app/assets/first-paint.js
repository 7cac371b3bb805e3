// Runs before the first paint, so that a remembered theme or language does not flash the other one until the wasm is there.
// The keys are those of `Setting` in src/browser.rs. A file of its own because the content security policy forbids inline code.
try {
  const theme = localStorage.getItem("talkback.theme");
  if (theme) document.documentElement.dataset.theme = theme;
  const language = localStorage.getItem("talkback.language") || navigator.language;
  if (language.toLowerCase().startsWith("zh")) document.documentElement.lang = "zh-CN";
} catch {
  // Without storage the page follows the system.
}
