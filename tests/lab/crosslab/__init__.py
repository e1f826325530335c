"""Two small Proxmox VE look-alike clusters with real Ceph on one machine."""
