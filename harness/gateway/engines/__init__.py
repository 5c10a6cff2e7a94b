"""What answers behind the protocols: recognisers, synthesisers, scripted replies."""
