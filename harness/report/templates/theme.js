(() => {
  document.documentElement.classList.remove("no-script");
  let stored = null;
  try { stored = localStorage.getItem("turnbench-theme"); } catch { /* storage may be closed to files */ }
  const asked = new URLSearchParams(location.search).get("theme");
  const theme = asked || stored;
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
})();
