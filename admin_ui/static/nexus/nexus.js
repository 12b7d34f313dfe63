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

// The search fields that Django's select boxes make have no name; they get their field's.
function nameSearchFields() {
  for (const field of document.querySelectorAll(".select2-search__field:not([aria-label])")) {
    const select = field.closest(".select2")?.previousElementSibling;
    const label = select?.id ? document.querySelector(`label[for="${select.id}"]`) : null;
    field.setAttribute("aria-label", (label?.textContent || select?.name || "Search").trim());
  }
}
document.addEventListener("DOMContentLoaded", () => {
  if (!document.querySelector(".admin-autocomplete")) return;
  nameSearchFields();
  new MutationObserver(nameSearchFields).observe(document.body, { childList: true, subtree: true });
});
