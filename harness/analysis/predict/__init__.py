"""What would be: stages of different runs composed, settings changed."""
