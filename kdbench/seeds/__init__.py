"""How many seeds a verdict takes: its power, plans of looks, and which runs decide the most."""
