"""What training costs, counted and measured: arithmetic, memory, hours, on the device at hand."""
