"""pairdist and its peers side by side: scripts/bench-peers and scripts/plot-peers start it."""
