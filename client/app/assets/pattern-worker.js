// Tests texts against a regular expression, in a worker of its own: a pattern may take longer than anybody waits, and then the page ends
// the worker. A message is [source, flags, texts]; the answer has the indices of the matching texts, or says why the pattern is invalid.
addEventListener("message", ({ data: [source, flags, texts] }) => {
  let answer;
  try {
    // With "g" or "y" a pattern remembers where it found something.
    const pattern = new RegExp(source, flags.replace(/[gy]/g, ""));
    answer = texts.flatMap((text, index) => (pattern.test(text) ? [index] : []));
  } catch (error) {
    answer = error.message;
  }
  postMessage(answer);
});
postMessage(null);
