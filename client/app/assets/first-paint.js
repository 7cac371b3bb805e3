// Runs before the first paint, so that the remembered theme and language apply before the WebAssembly runs.
// The keys are those of `Setting` in src/browser/storage.rs. A separate file because the content security policy forbids inline code.
try {
  const theme = localStorage.getItem("talkback.theme");
  if (theme) document.documentElement.dataset.theme = theme;
  const language = localStorage.getItem("talkback.language") || navigator.language;
  if (language.toLowerCase().startsWith("zh")) document.documentElement.lang = "zh-CN";
} catch {
  // Without storage the page follows the system.
}
