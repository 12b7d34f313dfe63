// Buttons that copy or save a text of the page.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("[data-copy], [data-save]") : null;
  if (!button) return;
  const source = document.getElementById(button.dataset.copy || button.dataset.save);
  if (!source) return;
  if (button.dataset.copy) {
    navigator.clipboard?.writeText(source.textContent).then(() => { button.textContent = "Copied"; });
    return;
  }
  const url = URL.createObjectURL(new Blob([source.textContent], { type: "text/plain" }));
  const anchor = Object.assign(document.createElement("a"), { href: url, download: button.dataset.name || "file.txt" });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
});
