"""Values in, text out: HTML, Markdown, JUnit, CSV, terminal tables."""
