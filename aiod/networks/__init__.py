"""Networks: their records and addresses, names and published ports, and what the kernel is told."""
