"""What a dataset is on disk: manifests, recordings, imports."""
