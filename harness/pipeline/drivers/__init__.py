"""How a trial is played: the session and the stage driver, and what both share."""
