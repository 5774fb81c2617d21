"""Human-readable output of commands: tables and summaries."""
