"""What was said, made comparable: normalised words of each language, and their errors."""
