"""Stand-ins for the commands of Proxmox VE, as far as crossover and its tests meet them.

Names in docstrings such as [start] refer to what the real programs were seen to do; tests/lab/pve/transcripts holds
what they printed."""
