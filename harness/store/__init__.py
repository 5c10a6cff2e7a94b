"""Files: suites, manifests, run folders, environment."""
