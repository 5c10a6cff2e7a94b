"""OpenAI's REST and realtime protocols."""
